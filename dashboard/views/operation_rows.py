"""Rows of operations, and what a form asks to start. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from cryptoviz.operations import (
    RESUMABLE,
    Arguments,
    BackfillArguments,
    MaintenanceArguments,
    OperationState,
    OperationStatus,
    ReplayArguments,
    VerifyArguments,
)
from cryptoviz.times import typed_ms
from dashboard.views.markup import breaking_text, element, text
from dashboard.views.numbers import format_count, format_figure, plain_number
from dashboard.views.texts import say

__all__ = ["KINDS", "operation_table", "parse_operation"]

KINDS = ("verify", "maintenance", "backfill", "replay")
_CHIPS = {
    OperationState.SUCCEEDED: "good", OperationState.FAILED: "bad", OperationState.CANCELLED: "off", OperationState.INTERRUPTED: "warn",
    OperationState.RUNNING: "busy", OperationState.PENDING: "busy", OperationState.CANCELLING: "warn",
}  # fmt: skip
_SHOWN = 20
_FIGURES = 6


def parse_operation(values: Mapping[str, str], assets: Collection[str]) -> Arguments | str:
    """What a form asks for, or what is wrong with it. Untrusted. Times are UTC unless they name another zone."""
    kind = values.get("kind", "")
    if kind == "verify":
        return VerifyArguments()
    if kind == "maintenance":
        return MaintenanceArguments()
    if kind not in KINDS:
        return say("Start one of {names}.", names=", ".join(KINDS))
    start, end = _moment(values.get("from", "")), _moment(values.get("to", ""))
    if isinstance(start, str) or isinstance(end, str):
        return say("Times must be like 2026-01-31T12:00:00Z.")
    if start is not None and end is not None and start >= end:
        return say("The start must be before the end.")
    if kind == "replay":
        return say("A replay needs a start and an end.") if start is None or end is None else ReplayArguments(start_ms=start, end_ms=end)
    asset = values.get("asset", "")
    if asset and asset not in assets:
        return say("No coin {name}.", name=repr(asset[:40]))
    return BackfillArguments(assets=(asset,) if asset else (), start_ms=start, end_ms=end)


def _moment(written: str) -> int | str | None:
    if not written.strip():
        return None
    found = typed_ms(written)
    return "wrong" if found is None else found


def operation_table(rows: Sequence[OperationStatus], *, operates: bool) -> str:
    """The newest operations: progress, result, and the verbs that have an effect."""
    heads = (("Operation", ""), ("State", ""), ("Progress", ""), ("Result", "cv-wide-only"), ("", ""))
    head = "".join(
        element("th", text(say(name)) or element("span", text(say("Verbs")), "cv-hidden"), classes, scope="col") for name, classes in heads
    )
    body = "".join(_row(one, operates) for one in rows[:_SHOWN])
    return element("table", element("thead", element("tr", head)) + element("tbody", body), "cv-table cv-operations-table")


def _row(one: OperationStatus, operates: bool) -> str:
    name = element("b", text(one.kind)) + element("small", f"{text(one.id[:8])} · {element('cv-time', '', data_ms=one.created_ms)}")
    done, total = one.progress.done, one.progress.total
    counted = format_count(done) + (f" {say('of')} {format_count(total)}" if total is not None else "") + f" {say(one.progress.unit)}"
    meter = (
        ""
        if not total
        else element("span", element("span", "", "cv-meter-good", style=f"width:{plain_number(min(100.0, 100 * done / total), 1)}%"), "cv-meter")
    )
    figures = ", ".join(f"{figure.replace('_', ' ')} {format_figure(value)}" for figure, value in list(one.figures.items())[:_FIGURES])
    notes = breaking_text("; ".join((figures, *one.notes)).strip("; "))
    result = element("span", breaking_text(one.message or one.progress.message) + element("small", notes), "cv-comp")
    verb = "resume" if one.state in RESUMABLE else "cancel" if not one.over and one.state is not OperationState.CANCELLING else ""
    button = "" if not verb else element(
        "button", text(say(verb.capitalize())), "cv-act", type="button", data_act=f"{verb}_operation",
        data_id=one.id, aria_label=f"{say(verb.capitalize())} {one.kind}",
        data_confirm=say("{verb} {name}?", verb=say(verb.capitalize()), name=f"{one.kind} {one.id[:8]}"), disabled=None if operates else "",
    )  # fmt: skip
    cells = (
        element("td", element("span", name, "cv-comp")),
        element("td", element("span", text(one.state), f"cv-chip cv-operation-state cv-chip-{_CHIPS[one.state]}", data_operation=one.id)),
        element("td", element("span", element("span", text(counted), "cv-num") + meter, "cv-comp")),
        element("td", result, "cv-wide-only"),
        element("td", button),
    )
    return element("tr", "".join(cells), data_key=one.id)
