"""What the Alerts page shows, in both languages, and what its form means."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal

import pytest

from cryptoviz.alerts.draft import Draft, Known, make_rule
from cryptoviz.alerts.evaluate import RuleState, firing_of
from cryptoviz.alerts.rule import ALL, Direction, Kind, Rule
from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.components import ComponentState
from dashboard.views.alert_rows import alert_form, condition_text, draft_of, form_values, history_table, notice_text, rule_table
from dashboard.views.texts import texts
from tests.unit.dashboard.records import NOW_MS

EN, FR = texts("en"), texts("fr")
RULE = Rule(
    rule_id="r1", kind=Kind.PRICE, subject="bitcoin", threshold=Decimal("100000.50"), hysteresis_pct=Decimal("0.1"), cool_down_s=600,
    created_ms=NOW_MS, note="<img src=x>",
)  # fmt: skip
KNOWN = Known(DEFAULT_ASSETS, 60_000, 100.0, ("lake",))


def words(markup: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", markup).split())


def test_a_condition_reads_in_both_languages() -> None:
    assert condition_text(RULE, EN) == "bitcoin · price ≥ 100000.5 USD"
    assert (
        condition_text(replace(RULE, kind=Kind.CHANGE, direction=Direction.BELOW, threshold=Decimal(-5), window_s=900), FR)
        == "bitcoin · variation 15m ≤ -5 %"
    )
    component = replace(RULE, kind=Kind.COMPONENT, subject=ALL, states=(ComponentState.FAILED,))
    assert condition_text(component, FR) == "tous · composant FAILED"


def test_a_notice_names_subject_value_and_condition() -> None:
    assert (
        notice_text(firing_of(replace(RULE, note=""), "bitcoin", "100001", NOW_MS), EN)
        == "Alert: bitcoin 100001 USD · bitcoin · price ≥ 100000.5 USD"
    )
    assert notice_text(firing_of(RULE, "bitcoin", "1", NOW_MS, 2), FR).startswith("Alerte: bitcoin et 2 autres 1 USD")


def test_a_rule_shows_value_state_and_last_firing_and_escapes_its_note() -> None:
    active = RuleState(NOW_MS - 5, NOW_MS - 5, ("bitcoin",))
    markup = rule_table([replace(RULE, muted=True)], {"r1": active}, {"r1": "100001"}, EN, operates=True)
    assert "<img" not in markup
    assert words(markup).endswith("bitcoin · price ≥ 100000.5 USD &lt;img src=x&gt; 100001 USD active muted 10m Edit Unmute Remove")
    assert f'data-ms="{NOW_MS - 5}"' in markup
    assert 'data-act="remove" data-id="r1" data-confirm="Remove this alert?"' in markup


def test_the_role_read_has_no_verbs() -> None:
    assert rule_table([RULE], {}, {}, EN, operates=False).count("disabled") == 3
    assert "disabled" not in rule_table([RULE], {}, {}, EN, operates=True)


def test_the_history_shows_deliveries_and_escapes_what_servers_said() -> None:
    firing = replace(firing_of(RULE, "bitcoin", "100001", NOW_MS), deliveries={"webhook": "sent", "mail": "refused: <b>554</b>"})
    markup = history_table([firing], FR)
    assert "webhook: envoyé; mail: refused: &lt;b&gt;554&lt;/b&gt;" in markup
    assert "muette" in words(history_table([replace(firing, rule=replace(RULE, muted=True))], FR))


RULES = {
    "price": RULE,
    "change": replace(RULE, kind=Kind.CHANGE, direction=Direction.BELOW, threshold=Decimal("-2.5"), window_s=900, hysteresis_pct=Decimal(10)),
    "staleness": replace(RULE, kind=Kind.STALENESS, subject=ALL, threshold=Decimal(120), hysteresis_pct=Decimal(0)),
    "disagreement": replace(RULE, kind=Kind.DISAGREEMENT, threshold=Decimal(50), hysteresis_pct=Decimal(10)),
    "gap": replace(RULE, kind=Kind.GAP, subject=ALL, threshold=Decimal(3), hysteresis_pct=Decimal(0)),
    "one state": replace(
        RULE, kind=Kind.COMPONENT, subject="lake", threshold=Decimal(0), states=(ComponentState.STOPPED,), hysteresis_pct=Decimal(0)
    ),
    "two states": replace(
        RULE,
        kind=Kind.COMPONENT,
        subject=ALL,
        threshold=Decimal(0),
        states=(ComponentState.STOPPED, ComponentState.FAILED),
        hysteresis_pct=Decimal(0),
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_survives_its_form(name: str) -> None:
    """What a browser sends back without a change means the same rule."""
    rule = RULES[name]
    markup = alert_form(form_values(rule), [asset.asset_id for asset in DEFAULT_ASSETS], ["lake"], EN, "form-1")
    sent = dict(re.findall(r'<input name="([a-z_]+)" type="text" value="([^"]*)"', markup))
    for field, options in re.findall(r'<select name="([a-z_]+)"[^>]*>(.*?)</select>', markup):
        chosen = re.findall(r'value="([^"]*)" selected', options)
        assert len(chosen) == 1, field
        sent[field] = chosen[0]
    sent["note"] = sent["note"].replace("&lt;", "<").replace("&gt;", ">")
    assert make_rule(draft_of(sent), "r1", NOW_MS, KNOWN) == rule


def test_fields_that_a_kind_does_not_have_are_left_out() -> None:
    values = {"kind": "gap", "subject": "all", "side": "below", "threshold": "2", "over": "5m", "quote": "EUR", "state": "FAILED", "hysteresis": "5"}
    assert draft_of(values) == Draft(kind="gap", subject="all", above="2")


def test_the_form_asks_only_for_what_the_kind_has() -> None:
    fields = {kind: set(re.findall(r'name="([a-z_]+)"', alert_form({"kind": kind}, ["bitcoin"], ["lake"], FR, "f"))) for kind in Kind}
    common = {"kind", "subject", "cool_down", "note"}
    assert fields[Kind.PRICE] == common | {"side", "threshold", "quote", "hysteresis"}
    assert fields[Kind.CHANGE] == common | {"side", "threshold", "over", "hysteresis"}
    assert fields[Kind.GAP] == fields[Kind.STALENESS] == common | {"threshold"}
    assert fields[Kind.COMPONENT] == common | {"state"}
