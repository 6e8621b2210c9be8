"""The Alerts page: form, rules, history; and the text of a notice. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cryptoviz.alerts.draft import Draft
from cryptoviz.alerts.evaluate import Firing, RuleState
from cryptoviz.alerts.rule import ALL, Direction, Kind, Rule, duration_text, plain
from cryptoviz.components import ComponentState
from dashboard.views.markup import element, text
from dashboard.views.numbers import UNKNOWN
from dashboard.views.texts import Texts, texts

__all__ = ["alert_form", "alerts_frame", "condition_text", "draft_of", "form_values", "history_table", "notice_text", "rule_table"]

_SHOWN = 100
_SIGNS = {Direction.ABOVE: "≥", Direction.BELOW: "≤"}
_EXAMPLES = {Kind.PRICE: "100000", Kind.CHANGE: "5", Kind.STALENESS: "2m", Kind.DISAGREEMENT: "100", Kind.GAP: "1"}
_TWO_SIDES = (Kind.PRICE, Kind.CHANGE)
_CHIPS = {"alert_armed": "cv-chip-good", "alert_active": "cv-chip-bad"}


def alerts_frame(language: str) -> str:
    """Places of the form, the rules and the history."""
    t = texts(language)

    def card(key: str, part: str) -> str:
        head = element("div", element("h2", t(key), "cv-title"), "cv-bar")
        return element("div", head + element("div", "", "cv-scroll", data_part=part), "cv-card")

    return element("div", "", "", data_part="alerts.form") + card("alert_rules", "alerts.rules") + card("alert_history", "alerts.history")


def condition_text(rule: Rule, t: Texts) -> str:
    """The condition of a rule in the page's language."""
    subject = t("alert_all") if rule.subject == ALL else rule.subject
    if rule.kind is Kind.COMPONENT:
        return f"{subject} · {t('alert_kind_component')} {', '.join(rule.states)}"
    window = f" {duration_text(rule.window_s)}" if rule.kind is Kind.CHANGE else ""
    return f"{subject} · {t(f'alert_kind_{rule.kind}')}{window} {_SIGNS[rule.direction]} {plain(rule.threshold)} {rule.unit}"


def notice_text(firing: Firing, t: Texts) -> str:
    """A firing as a notice."""
    note = f" ({firing.rule.note})" if firing.rule.note else ""
    return f"{t('alert')}: {_subject(firing, t)} {firing.value} {firing.rule.unit}".rstrip() + f" · {condition_text(firing.rule, t)}{note}"


def rule_table(rules: Sequence[Rule], states: Mapping[str, RuleState], values: Mapping[str, str], t: Texts, *, operates: bool) -> str:
    """A row for each rule, with its verbs."""
    heads = ("alert_condition", "alert_value", "alert_state", "alert_fired", "alert_cool_down", "")
    body = "".join(_rule_row(rule, states.get(rule.rule_id, RuleState()), values.get(rule.rule_id), t, operates) for rule in rules)
    return element("table", _head(heads, t) + element("tbody", body), "cv-table cv-alerts-table")


def _rule_row(rule: Rule, state: RuleState, value: str | None, t: Texts, operates: bool) -> str:
    word = "alert_armed" if state.active_since_ms is None else "alert_active"
    chips = element("span", t(word), f"cv-chip cv-alert-state {_CHIPS[word]}", data_alert=rule.rule_id)
    chips += element("span", t("alert_muted"), "cv-chip") if rule.muted else ""
    notes = element("small", text(rule.note), "cv-muted") if rule.note else ""
    shown = UNKNOWN if value is None else f"{text(value)} {text(rule.unit)}"
    verbs = _verb("edit", t("alert_edit"), rule, t, operates)
    verbs += _verb("unmute", t("alert_unmute"), rule, t, operates) if rule.muted else _verb("mute", t("alert_mute"), rule, t, operates)
    verbs += _verb("remove", t("alert_remove"), rule, t, operates, t("alert_remove_question"))
    cells = [
        element("td", element("span", element("b", text(condition_text(rule, t))) + notes, "cv-comp")),
        element("td", shown, "cv-num"),
        element("td", chips),
        element("td", UNKNOWN if state.last_fired_ms is None else element("cv-time", "", data_ms=state.last_fired_ms), "cv-wide-only"),
        element("td", text(duration_text(rule.cool_down_s)), "cv-wide-only"),
        element("td", verbs),
    ]
    return element("tr", "".join(cells), data_key=rule.rule_id)


def _verb(verb: str, label: str, rule: Rule, t: Texts, operates: bool, question: str | None = None) -> str:
    return element(
        "button", text(label), "cv-act", type="button", aria_label=f"{label}: {condition_text(rule, t)}", data_act=verb, data_id=rule.rule_id,
        data_confirm=question, disabled=None if operates else "", title=None if operates else t("alert_read_only"),
    )  # fmt: skip


def history_table(firings: Sequence[Firing], t: Texts) -> str:
    """The last firings, the newest first."""
    body = "".join(_firing_row(firing, t) for firing in firings[:_SHOWN])
    return element("table", _head(("alert_time", "alert_value", "alert_condition", "alert_delivery"), t) + element("tbody", body), "cv-table")


def _firing_row(firing: Firing, t: Texts) -> str:
    said = [f"{channel}: {t('alert_sent') if result == 'sent' else result}" for channel, result in firing.deliveries.items()]
    cells = [
        element("td", element("cv-time", "", data_ms=firing.at_ms)),
        element("td", f"{text(_subject(firing, t))} {element('b', text(firing.value))} {text(firing.rule.unit)}"),
        element("td", text(condition_text(firing.rule, t)), "cv-wide-only"),
        element("td", text(t("alert_muted") if firing.rule.muted else "; ".join(said)) or UNKNOWN, "cv-msg"),
    ]
    return element("tr", "".join(cells), "cv-firing", data_key=firing.firing_id)


def _subject(firing: Firing, t: Texts) -> str:
    return firing.subject + (f" {t('alert_and_more').format(count=firing.others)}" if firing.others else "")


def _head(keys: Sequence[str], t: Texts) -> str:
    wide = ("alert_fired", "alert_cool_down", "alert_delivery") if "" in keys else ("alert_condition",)
    cells = [
        element("th", text(t(key)) if key else element("span", t("alert_verbs"), "cv-hidden"), "cv-wide-only" if key in wide else "", scope="col")
        for key in keys
    ]
    return element("thead", element("tr", "".join(cells)))


def form_values(rule: Rule) -> dict[str, str]:
    """The fields of the form that edits a rule."""
    threshold = "" if rule.kind is Kind.COMPONENT else plain(rule.threshold)
    return {
        "id": rule.rule_id, "kind": rule.kind, "subject": rule.subject, "side": rule.direction, "threshold": threshold,
        "over": duration_text(rule.window_s) if rule.window_s else "", "quote": rule.quote_currency, "note": rule.note,
        "state": ",".join(rule.states), "hysteresis": plain(rule.hysteresis_pct),
        "cool_down": duration_text(rule.cool_down_s),
    }  # fmt: skip


def draft_of(values: Mapping[str, str]) -> Draft:
    """What the fields of the form mean. Untrusted; fields that the kind does not have are left out."""
    kind = values.get("kind", "")
    side, threshold = values.get("side", ""), values.get("threshold", "").strip()
    below = side == Direction.BELOW and kind in _TWO_SIDES
    state = values.get("state", "")
    return Draft(
        kind=kind,
        subject=values.get("subject", ""),
        above="" if below or kind == Kind.COMPONENT else threshold,
        below=threshold if below else "",
        over=values.get("over", "") if kind == Kind.CHANGE else "",
        states=tuple(state.split(",")) if kind == Kind.COMPONENT and state else (),
        quote_currency=values.get("quote", "") if kind == Kind.PRICE else "",
        hysteresis_pct=values.get("hysteresis", "") if kind in (*_TWO_SIDES, Kind.DISAGREEMENT) else "",
        cool_down=values.get("cool_down", ""),
        note=values.get("note", ""),
    )


def alert_form(values: Mapping[str, str], assets: Sequence[str], components: Sequence[str], t: Texts, key: str) -> str:
    """The form for one kind of rule; a change of `key` replaces what was typed."""
    kind = Kind(values.get("kind", Kind.PRICE))
    names = list(components) if kind is Kind.COMPONENT else list(assets)
    subjects = [(ALL, t("alert_all"))] * (kind not in _TWO_SIDES) + [(name, name) for name in names]
    fields = [
        _select(t("alert_kind"), "kind", [(one, t(f"alert_kind_{one}")) for one in Kind], kind, "kind"),
        _select(t("alert_subject"), "subject", subjects, values.get("subject", "")),
    ]
    if kind in _TWO_SIDES:
        sides = [(side, t(f"alert_{side}")) for side in Direction]
        fields.append(_select(t("alert_side"), "side", sides, values.get("side", "")))
    if kind is Kind.COMPONENT:
        chosen = values.get("state", "")
        others = [(chosen, chosen.replace(",", ", "))] if "," in chosen else []
        states = [("", t("alert_bad_states")), *others, *((state, state) for state in ComponentState)]
        fields.append(_select(t("alert_state"), "state", states, chosen))
    else:
        fields.append(_field(t("alert_threshold"), "threshold", values, _EXAMPLES[kind]))
    if kind is Kind.CHANGE:
        fields.append(_field(t("alert_over"), "over", values, "15m"))
    if kind is Kind.PRICE:
        fields.append(_field(t("alert_quote"), "quote", values, "USD"))
    if kind in (*_TWO_SIDES, Kind.DISAGREEMENT):
        fields.append(_field(t("alert_hysteresis"), "hysteresis", values, "0.1" if kind is Kind.PRICE else "10"))
    fields += [_field(t("alert_cool_down"), "cool_down", values, "5m"), _field(t("alert_note"), "note", values, "", 24)]
    rule_id = values.get("id", "")
    save = element("button", t("alert_save" if rule_id else "alert_add"), "cv-button cv-alert-save", type="submit")
    new = element("button", t("alert_new"), "cv-button", type="button", data_act="new") if rule_id else ""
    form = element("form", "".join(fields) + save + new, "cv-bar cv-form", data_act="save", data_id=rule_id, data_key=key)
    head = element("div", element("h2", t("alert_edit" if rule_id else "alert_new"), "cv-title"), "cv-bar")
    return element("div", head + form, "cv-card cv-alert-form")


def _field(label: str, name: str, values: Mapping[str, str], example: str, size: int = 10) -> str:
    box = f'<input name="{name}" type="text" value="{text(values.get(name, ""))}" placeholder="{text(example)}" size="{size}">'
    return element("label", f"{text(label)} {box}", "cv-field")


def _select(label: str, name: str, options: Sequence[tuple[str, str]], chosen: str, act: str | None = None) -> str:
    shown = "".join(element("option", text(word), value=value, selected="" if value == chosen else None) for value, word in options)
    return element("label", f"{text(label)} " + element("select", shown, name=name, data_act=act), "cv-field")
