"""Rows of the providers page: breaker, quota, latency, errors, and the verbs on the breaker. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cryptoviz.provider_status import BreakerState, ProviderStatus, QuotaStatus
from cryptoviz.times import utc
from dashboard.views.header import state_class
from dashboard.views.markup import breaking_text, duration_element, element, text
from dashboard.views.numbers import UNKNOWN, format_count, format_share, plain_number
from dashboard.views.texts import say

__all__ = ["provider_table"]

_BREAKER = {BreakerState.CLOSED: "cv-chip-good", BreakerState.OPEN: "cv-chip-bad", BreakerState.HALF_OPEN: "cv-chip-warn"}
_TRIP = "Stop polling {name} until its breaker is reset? Other providers take its turns."
_HEADS = (
    ("Provider", ""), ("State", ""), ("Breaker", ""), ("Quota", ""), ("Latency", "cv-right cv-wide-only"), ("Turns", "cv-right cv-wide-only"),
    ("Last good poll", "cv-right cv-wide-only"), ("Last error", "cv-wide-only"), ("", ""),
)  # fmt: skip


def provider_table(rows: Sequence[ProviderStatus], *, operates: bool) -> str:
    """A row for each provider, in order of preference."""
    head = "".join(
        element("th", text(say(name)) or element("span", text(say("Verbs")), "cv-hidden"), classes, scope="col", role="columnheader")
        for name, classes in _HEADS
    )
    body = "".join(_row(one, operates) for one in rows)
    inside = element("thead", element("tr", head, role="row"), role="rowgroup") + element("tbody", body, role="rowgroup")
    return element("table", inside, "cv-table cv-providers-table", role="table")


def _row(one: ProviderStatus, operates: bool) -> str:
    scraper = one.scraper
    name = element("span", element("b", breaking_text(one.name)) + element("small", text(say("preference {rank}", rank=one.rank))), "cv-comp")
    state = element("span", text(one.state), f"cv-chip cv-provider-state {state_class(one.state)}", data_provider=one.name)
    if scraper is None:
        message = _cell(breaking_text(one.message), "cv-msg", colspan="6")
        return element("tr", _cell(name) + _cell(state) + message + _cell(""), role="row", data_key=one.name)
    breaker = scraper.breaker
    word = breaker.state.value.replace("_", "-")
    why = say("opened by an operator") if breaker.by_operator and not breaker.reason else breaker.reason
    held = "" if scraper.hold is None else say("on hold until {date}: {reason}", date=_date(scraper.hold.until_ms), reason=scraper.hold.reason)
    notes = "".join(element("small", breaking_text(note), "cv-muted") for note in (why, held, scraper.ids.text(one.name)) if note)
    shown = element("span", element("span", word, f"cv-chip cv-breaker {_BREAKER[breaker.state]}", data_provider=one.name) + notes, "cv-comp")
    good = UNKNOWN if scraper.last_good_ms is None else duration_element(scraper.last_good_ms, "cv-num", say("since the last poll with prices"))
    error = ""
    if scraper.last_error:
        since = "" if scraper.last_error_ms is None else duration_element(scraper.last_error_ms, "cv-num cv-muted", say("since the error"))
        error = element("span", since + element("small", breaking_text(scraper.last_error), "cv-msg"), "cv-comp")
    cells = [
        _cell(name),
        _cell(state),
        _cell(shown, data_label=say("Breaker")),
        _cell("".join(_quota(quota) for quota in scraper.quotas) or element("span", text(say("no limit")), "cv-muted"), data_label=say("Quota")),
        _cell(UNKNOWN if scraper.latency_ms is None else f"{format_count(scraper.latency_ms)} ms", "cv-right cv-num cv-wide-only"),
        _cell(format_share(scraper.rate) if scraper.rate < 1 else text(say("all")), "cv-right cv-num cv-wide-only"),
        _cell(good, "cv-right cv-wide-only"),
        _cell(error, "cv-wide-only"),
        _cell(_verbs(one.name, closed=breaker.state is BreakerState.CLOSED and scraper.hold is None, operates=operates)),
    ]
    return element("tr", "".join(cells), role="row", data_key=one.name)


def _cell(content: str, classes: str = "", **attributes: object) -> str:
    """On a phone the cells are shown below each other (`explore.css`): the roles keep them a table, and `data-label` stands for the heading."""
    return element("td", content, classes, role="cell", **attributes)


def _verbs(name: str, *, closed: bool, operates: bool) -> str:
    verb = "trip" if closed else "reset"
    question = say(_TRIP if closed else "Poll {name} again?", name=name)
    return element(
        "button", text(say(verb.capitalize())), "cv-act", type="button", aria_label=f"{say(verb.capitalize())} {name}", data_act=verb, data_name=name,
        data_confirm=question, disabled=None if operates else "", title=None if operates else say("Your role is read"),
    )  # fmt: skip


def _quota(quota: QuotaStatus) -> str:
    share = min(1.0, quota.used / quota.limit) if quota.limit else 1.0
    level = "bad" if share >= 0.95 or quota.exhausted_ms is not None else "warn" if share >= 0.8 else "good"
    ends = say("resets {date}", date=_date(quota.resets_ms)) if quota.exhausted_ms is None else say("runs out {date}", date=_date(quota.exhausted_ms))
    meter = element(
        "span",
        element("span", "", f"cv-meter-{level}", style=f"width:{plain_number(100 * share, 1)}%"),
        "cv-meter",
        title=say("{share} used", share=format_share(share)),
    )
    left, limit = element("b", format_count(quota.left)), format_count(quota.limit)
    line = say("{left} of {limit} left this {period}", left=left, limit=limit, period=text(say(quota.period)))
    return element("span", element("span", line, "cv-num") + meter + element("small", text(ends)), "cv-comp cv-quota", data_left=quota.left)


def _date(moment_ms: int) -> str:
    return utc(moment_ms).strftime("%Y-%m-%d %H:%M UTC")
