"""Human-readable numbers of any size. Unknown is an em dash, never 0."""

from __future__ import annotations

import math
from enum import StrEnum

from dashboard.views.texts import spoken

__all__ = ["UNKNOWN", "Direction", "direction", "format_compact", "format_count", "format_percent", "format_price"]

UNKNOWN = "—"
_MINUS = "−"
_FRENCH = str.maketrans({",": "\u202f", ".": ","})

# (minimum, decimals): enough to show a tick's change, few enough for a uniform column.
_DECIMALS: tuple[tuple[float, int], ...] = ((1000.0, 2), (1.0, 4), (0.1, 5), (0.01, 6), (0.001, 7))
_SUBUNIT_DIGITS = 5
_TINY = 1e-8  # smaller values use an exponent instead of many zeros
_COMPACT_FROM = 1e9
_CENT = 0.01  # smaller values would be shown as 0 with two decimals
_SUFFIXES: tuple[tuple[float, str], ...] = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))
_ROUNDS_UP_AT = 999.995  # larger values would print as 1000.00, so they use the next suffix

_CURRENCY_SIGNS = {"USD": "$", "USDT": "₮", "EUR": "€", "GBP": "£"}


def _local(number: str) -> str:
    """The separators of the page's language."""
    return number.translate(_FRENCH) if spoken() == "fr" else number


class Direction(StrEnum):
    """Direction of a change; also the CSS class `cv-<value>`."""

    UP = "up"
    DOWN = "down"
    FLAT = "flat"
    NONE = "none"


def format_price(value: float | None, currency: str = "") -> str:
    """A price with decimals by size, thousands separators and the currency sign."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    sign = _CURRENCY_SIGNS.get(currency, f"{currency} " if currency else "")
    size = abs(value)
    if size >= _COMPACT_FROM:
        return format_compact(value, currency)
    minus = _MINUS if value < 0 else ""
    text = _exponent(size) if 0 < size < _TINY else _local(f"{size:,.{_decimals(size)}f}")
    return f"{minus}{sign}{text}"


def _exponent(size: float) -> str:
    """Up to five significant digits: `4.9e-13`."""
    digits, power = f"{size:.{_SUBUNIT_DIGITS - 1}e}".split("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"


def _decimals(size: float) -> int:
    for at_least, decimals in _DECIMALS:
        if size >= at_least:
            return decimals
    if size == 0:
        return 2
    return _SUBUNIT_DIGITS - 1 - math.floor(math.log10(size))


def format_compact(value: float | None, currency: str = "") -> str:
    """An amount with two decimals and a suffix: `$1.92T`, `$38.41B`, `812.30M`, `940.00`."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    sign = _CURRENCY_SIGNS.get(currency, f"{currency} " if currency else "")
    minus, size = (_MINUS if value < 0 else ""), abs(value)
    for at_least, suffix in _SUFFIXES:
        if size >= at_least * _ROUNDS_UP_AT / 1000:
            return f"{minus}{sign}{_local(f'{size / at_least:,.2f}')}{suffix}"
    if 0 < size < _CENT:
        return format_price(value, currency)
    return f"{minus}{sign}{_local(f'{size:,.2f}')}"


def direction(percent: float | None) -> Direction:
    """Direction of a change, rounded to two decimals: 0.004 % is flat."""
    if percent is None or not math.isfinite(percent):
        return Direction.NONE
    shown = round(percent, 2)
    if shown == 0:
        return Direction.FLAT
    return Direction.UP if shown > 0 else Direction.DOWN


_ARROWS = {Direction.UP: "▲", Direction.DOWN: "▼", Direction.FLAT: "■"}


def format_percent(percent: float | None, *, arrow: bool = True) -> str:
    """A change in percent with arrow and sign: `▲ +1.23%`, `▼ −0.45%`, `■ 0.00%`."""
    way = direction(percent)
    if percent is None or way is Direction.NONE:
        return UNKNOWN
    sign = {Direction.UP: "+", Direction.DOWN: _MINUS}.get(way, "")
    text = f"{sign}{_local(f'{abs(percent):,.2f}')}%"
    return f"{_ARROWS[way]} {text}" if arrow else text


def format_count(value: float | None) -> str:
    """An integer with thousands separators."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return _local(f"{round(value):,}")
