"""Rules, states and firings as JSON in Redis. Pure.

Another program, or another version, may have written a value there: one that no rule of `cryptoviz.alerts.draft` could have is not read, since it
would end the evaluation, or the deliveries, of all others.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from cryptoviz.alerts.evaluate import Firing, RuleState
from cryptoviz.alerts.rule import Rule
from cryptoviz.log import get_logger

__all__ = ["decode", "encode", "integers"]

T = TypeVar("T")

_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_LONGEST_TEXT = 512
_MOST_DIGITS = 40
"""Of a threshold before and after its point."""
_LONGEST_S = 366 * 86_400
_LAST_MS = 253_402_300_799_999
"""The end of the year 9999, UTC epoch ms: the last that a date can have."""

log = get_logger("alerts")


def encode(value: Any) -> str:
    """The JSON that `decode` reads."""
    return msgspec.json.encode(value).decode()


def decode(text: str, kind: type[T]) -> T | None:
    """None for a value that cannot be one, which is left as it is."""
    try:
        value = msgspec.json.decode(text, type=kind)
        problem = _problem(value)
    except (msgspec.MsgspecError, ValueError) as error:
        problem = str(error)
    if problem:
        log.warning("unreadable_alert_value", kind=kind.__name__, reason=problem)
        return None
    return value


def integers(stored: dict[str, str]) -> dict[str, int]:
    """The values that are whole numbers, by their names."""
    return {name: int(text) for name, text in stored.items() if re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII)}


def _problem(value: object) -> str:
    """What is wrong; empty if nothing is."""
    if isinstance(value, Rule):
        return _problem_of_rule(value)
    if isinstance(value, Firing):
        return _problem_of_rule(value.rule) or _first(
            (_is_id(value.firing_id), "firing_id"),
            (_is_moment(value.at_ms), "at_ms"),
            (_is_line(value.subject) and _is_line(value.value), "subject or value"),
        )
    if isinstance(value, RuleState):
        return _first((all(_is_moment(moment) for moment in (value.active_since_ms, value.last_fired_ms) if moment is not None), "a moment"))
    return ""


def _problem_of_rule(rule: Rule) -> str:
    return _first(
        (_is_id(rule.rule_id), "rule_id"),
        (_is_line(rule.subject) and _is_line(rule.note) and _is_line(rule.quote_currency), "subject, note or quote_currency"),
        (_is_amount(rule.threshold), "threshold"),
        (_is_amount(rule.hysteresis_pct) and 0 <= rule.hysteresis_pct <= 100, "hysteresis_pct"),
        (0 <= rule.window_s <= _LONGEST_S and 0 <= rule.cool_down_s <= _LONGEST_S, "window_s or cool_down_s"),
        (_is_moment(rule.created_ms), "created_ms"),
    )


def _first(*checks: tuple[bool, str]) -> str:
    return next((f"{name} is not valid" for valid, name in checks if not valid), "")


def _is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def _is_line(text: str) -> bool:
    """A text of a name or a note: neither mail nor a log takes a line break in it."""
    return len(text) <= _LONGEST_TEXT and text.isprintable()


def _is_amount(number: Decimal) -> bool:
    return number.is_finite() and len(number.as_tuple().digits) <= 2 * _MOST_DIGITS and abs(number.adjusted()) <= _MOST_DIGITS


def _is_moment(epoch_ms: int) -> bool:
    return 0 <= epoch_ms <= _LAST_MS
