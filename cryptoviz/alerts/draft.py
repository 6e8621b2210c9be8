"""From what a person enters, in a command or on the page, to a valid rule. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from cryptoviz.alerts.rule import ALL, PROVIDER_WINDOWS, Direction, Kind, Rule
from cryptoviz.assets import Asset
from cryptoviz.components import ComponentState
from cryptoviz.errors import AlertRefused
from cryptoviz.nearest import did_you_mean
from cryptoviz.records import DOLLAR

__all__ = ["WINDOW_TICKS", "Draft", "Known", "make_rule", "parse_duration_s"]

WINDOW_TICKS = 3_600
"""The longest window that is computed from ticks: those that the dashboard keeps (two hours of the demo, 60 hours at 60 s)."""
_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d)?")
_UNIT_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, None: 1}
_QUOTE = re.compile(r"[A-Z0-9]{2,10}")
_MOST_DIGITS = 30
_LONGEST_NOTE = 200
_LONGEST_COOL_DOWN_S = 30 * 86_400
_COOL_DOWN_S = 300
_HYSTERESIS_PCT = {Kind.PRICE: "0.1", Kind.CHANGE: "10", Kind.DISAGREEMENT: "10"}
"""Defaults in percent of the threshold. The other kinds count or have no value between the two sides."""
_BAD_STATES = (ComponentState.DEGRADED, ComponentState.BACKOFF, ComponentState.FAILED)
_LIMITS = {
    Kind.PRICE: (Decimal("1e-12"), Decimal("1e15"), "a price above 0, such as 100000 or 0.25"),
    Kind.CHANGE: (Decimal(-100), Decimal(1_000_000), "a percentage other than 0, from -100: 5, or -2.5"),
    Kind.STALENESS: (Decimal(1), Decimal(30 * 86_400), "a duration from 1s to 30d, such as 90s or 5m"),
    Kind.DISAGREEMENT: (Decimal("0.01"), Decimal(1_000_000), "basis points from 0.01, such as 50"),
    Kind.GAP: (Decimal(1), Decimal(1_000_000), "a whole number of missing ticks, from 1"),
}


@dataclass(frozen=True, slots=True)
class Known:
    """What the pipeline has, to check names and to fill defaults. `components` is empty if unknown."""

    assets: Sequence[Asset]
    tick_ms: int
    disagree_bps: float
    components: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Texts as entered; empty means the default."""

    kind: str
    subject: str
    above: str = ""
    below: str = ""
    over: str = ""
    states: Sequence[str] = field(default=())
    quote_currency: str = ""
    hysteresis_pct: str = ""
    cool_down: str = ""
    note: str = ""


def make_rule(draft: Draft, rule_id: str, now_ms: int, known: Known) -> Rule:
    """The rule that a draft means, created at `now_ms` (UTC epoch ms).

    Raises:
        AlertRefused: a value is missing, not valid, or has no meaning for the kind.
    """
    kind = _kind(draft.kind)
    _refuse_what_has_no_meaning(draft, kind)
    direction, threshold = _threshold(draft, kind, known)
    return Rule(
        rule_id=rule_id,
        kind=kind,
        subject=_subject(draft, kind, known),
        direction=direction,
        threshold=threshold,
        quote_currency=_quote(draft.quote_currency),
        window_s=_window_s(draft.over, known) if kind is Kind.CHANGE else 0,
        states=_states(draft.states) if kind is Kind.COMPONENT else (),
        hysteresis_pct=_number(
            "hysteresis", draft.hysteresis_pct or _HYSTERESIS_PCT.get(kind, "0"), Decimal(0), Decimal(100), "0 to 100, in percent"
        ),
        cool_down_s=_COOL_DOWN_S if not draft.cool_down else _bounded_s("cool-down", draft.cool_down, 0, _LONGEST_COOL_DOWN_S),
        created_ms=now_ms,
        note=_note(draft.note),
    )


def parse_duration_s(name: str, text: str) -> int:
    """Seconds of `90`, `90s`, `5m`, `2h` or `1d`. Raises AlertRefused."""
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None:
        raise _refused(name, text, "a whole number of s, m, h or d, such as 90s, 5m, 2h")
    return int(found[1]) * _UNIT_S[found[2]]


def _bounded_s(name: str, text: str, least_s: int, most_s: int) -> int:
    seconds = parse_duration_s(name, text)
    if not least_s <= seconds <= most_s:
        raise _refused(name, text, f"{least_s} s to {most_s} s")
    return seconds


def _kind(text: str) -> Kind:
    if text not in tuple(Kind):
        raise _refused("kind", text, f"{', '.join(Kind)}{did_you_mean(text, tuple(Kind))}")
    return Kind(text)


def _refuse_what_has_no_meaning(draft: Draft, kind: Kind) -> None:
    given = {
        "over": (draft.over, {Kind.CHANGE}),
        "state": (", ".join(draft.states), {Kind.COMPONENT}),
        "quote": (draft.quote_currency, {Kind.PRICE}),
        "hysteresis": (draft.hysteresis_pct, set(_HYSTERESIS_PCT)),
        "below": (draft.below, {Kind.PRICE, Kind.CHANGE}),
        "above": (draft.above, set(_LIMITS)),
    }
    for name, (value, kinds) in given.items():
        if value and kind not in kinds:
            text = f"{name} is {value[:64]!r}, which has no meaning for {kind}: valid is none"
            raise AlertRefused(text, field=name, value=value[:64], valid="none")


def _threshold(draft: Draft, kind: Kind, known: Known) -> tuple[Direction, Decimal]:
    if kind is Kind.COMPONENT:
        return Direction.ABOVE, Decimal(0)
    if draft.above and draft.below:
        above, below = draft.above[:64], draft.below[:64]
        text = f"above is {above!r} and below is {below!r}: valid is one of them"
        raise AlertRefused(text, field="below", value=below, valid="one of them")
    name, text = ("below", draft.below) if draft.below else ("above", draft.above or _default(kind, known))
    if not text:
        raise _refused("above", text, f"{_LIMITS[kind][2]}, as above or below")
    least, most, valid = _LIMITS[kind]
    if kind is Kind.STALENESS:
        text = str(parse_duration_s(name, text))
    value = _number(name, text, least, most, valid)
    if (kind is Kind.CHANGE and value == 0) or (kind is Kind.GAP and value != value.to_integral_value()):
        raise _refused(name, text, valid)
    return Direction(name), value


def _default(kind: Kind, known: Known) -> str:
    """Of stale: when the page calls a price stale. Of disagreement: when the collector marks one."""
    if kind is Kind.STALENESS:
        return str(max(1, -(-5 * known.tick_ms // 1000)))
    if kind is Kind.DISAGREEMENT:
        return str(known.disagree_bps or 0.01)
    return "1" if kind is Kind.GAP else ""


def _number(name: str, text: str, least: Decimal, most: Decimal, valid: str) -> Decimal:
    try:
        value = Decimal(text.strip()) if len(text) <= _MOST_DIGITS and "_" not in text else None
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite() or not least <= value <= most:
        raise _refused(name, text, valid)
    return value


def _subject(draft: Draft, kind: Kind, known: Known) -> str:
    wanted = draft.subject.strip()
    if kind is Kind.COMPONENT:
        names = [ALL, *known.components]
        if wanted not in names and (known.components or not re.fullmatch(r"[a-z0-9/_-]{1,64}", wanted)):
            raise _refused("subject", wanted, f"{', '.join(names)}{did_you_mean(wanted, names)}")
        return wanted
    if wanted.lower() == ALL and kind not in (Kind.PRICE, Kind.CHANGE):
        return ALL
    by_name = {name.lower(): asset.asset_id for asset in reversed(known.assets) for name in (asset.name, asset.symbol, asset.asset_id)}
    if wanted.lower() not in by_name:
        every = "" if kind in (Kind.PRICE, Kind.CHANGE) else f"{ALL}, or "
        raise _refused("subject", wanted, f"{every}{', '.join(asset.asset_id for asset in known.assets)}{did_you_mean(wanted, by_name)}")
    return by_name[wanted.lower()]


def _window_s(text: str, known: Known) -> int:
    seconds = parse_duration_s("over", text)
    least_s, most_s = -(-known.tick_ms // 1000), WINDOW_TICKS * known.tick_ms // 1000
    if seconds not in PROVIDER_WINDOWS and not least_s <= seconds <= most_s:
        raise _refused("over", text, f"{least_s} s to {most_s} s ({WINDOW_TICKS} ticks), or 1h, 24h, 7d, whose change the providers report")
    return seconds


def _states(names: Sequence[str]) -> tuple[ComponentState, ...]:
    for name in names:
        if name.upper() not in tuple(ComponentState):
            raise _refused("state", name, f"{', '.join(ComponentState)}{did_you_mean(name, tuple(ComponentState))}")
    return tuple(ComponentState(name.upper()) for name in dict.fromkeys(names)) or _BAD_STATES


def _quote(text: str) -> str:
    quote = text.strip().upper() or DOLLAR
    if not _QUOTE.fullmatch(quote):
        raise _refused("quote", text, "a currency of 2 to 10 letters and digits, such as USD or EUR")
    return quote


def _note(text: str) -> str:
    note = " ".join(text.split())
    if len(note) > _LONGEST_NOTE or not note.isprintable():
        raise _refused("note", text, f"at most {_LONGEST_NOTE} printable characters")
    return note


def _refused(name: str, value: str, valid: str) -> AlertRefused:
    return AlertRefused(f"{name} is {value[:64]!r}: valid is {valid}", field=name, value=value[:64], valid=valid)
