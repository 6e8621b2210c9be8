"""Human-readable numbers of any size, by the language of the page. Unknown is an em dash, never 0.

`web/format.js` writes the same: a price in the table and in the header above the chart has the same last digit. Both round half up, the decimal text
of the number and not its binary value, as browsers do.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Context, Decimal
from enum import StrEnum

from dashboard.views.texts import spoken

__all__ = [
    "UNKNOWN", "Direction", "direction", "format_bytes", "format_compact", "format_count", "format_figure", "format_number", "format_percent",
    "format_price", "format_share", "plain_number",
]  # fmt: skip

UNKNOWN = "—"
_MINUS = "−"
_FRENCH = str.maketrans({",": "\u202f", ".": ","})

# (minimum, decimals): enough to show a tick's change, few enough for a uniform column.
_DECIMALS: tuple[tuple[float, int], ...] = ((1000.0, 2), (1.0, 4), (0.1, 5), (0.01, 6), (0.001, 7))
_SUBUNIT_DIGITS = 5
_TINY = 1e-8  # smaller values use an exponent instead of many zeros
_COMPACT_FROM = 1e9
_CENT = 0.01  # smaller values would be shown as 0 with two decimals
_SUFFIXES: tuple[tuple[float, str, str], ...] = ((1e12, "T", "\u202fBn"), (1e9, "B", "\u202fMd"), (1e6, "M", "\u202fM"), (1e3, "K", "\u202fk"))
"""English and French: a billion is `B` here and `Md` there, where `B` would be read as a thousand times as much."""
_ROUNDS_UP_AT = 999.995  # larger values would print as 1000.00, so they use the next suffix

_FLAT_BELOW_PCT = 0.005  # shown as 0.00
_SMALL_FIGURE = 100.0
_ROUNDING = Context(prec=400, rounding=ROUND_HALF_UP)
_BYTES: tuple[tuple[int, str, str], ...] = (
    (2**40, "TiB", "Tio"), (2**30, "GiB", "Gio"), (2**20, "MiB", "Mio"), (2**10, "KiB", "Kio"), (1, "B", "o"),
)  # fmt: skip

_CURRENCY_SIGNS = {"USD": "$", "USDT": "₮", "EUR": "€", "GBP": "£"}


def _local(number: str) -> str:
    """The separators of the page's language."""
    return number.translate(_FRENCH) if spoken() == "fr" else number


def _fixed(size: float, decimals: int) -> str:
    rounded = Decimal(repr(float(size))).quantize(Decimal(1).scaleb(-decimals), context=_ROUNDING)
    return _local(f"{rounded:,.{decimals}f}")


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
    text = _exponent(size) if 0 < size < _TINY else _fixed(size, _decimals(size))
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
    for at_least, english, french in _SUFFIXES:
        if size >= at_least * _ROUNDS_UP_AT / 1000:
            return f"{minus}{sign}{_fixed(size / at_least, 2)}{french if spoken() == 'fr' else english}"
    if 0 < size < _CENT:
        return format_price(value, currency)
    return f"{minus}{sign}{_fixed(size, 2)}"


def direction(percent: float | None) -> Direction:
    """Direction of a change, rounded to two decimals: 0.004 % is flat."""
    if percent is None or not math.isfinite(percent):
        return Direction.NONE
    if abs(percent) < _FLAT_BELOW_PCT:
        return Direction.FLAT
    return Direction.UP if percent > 0 else Direction.DOWN


_ARROWS = {Direction.UP: "▲", Direction.DOWN: "▼", Direction.FLAT: "■"}


def format_percent(percent: float | None, *, arrow: bool = True) -> str:
    """A change in percent with arrow and sign: `▲ +1.23%`, `▼ −0.45%`, `■ 0.00%`."""
    way = direction(percent)
    if percent is None or way is Direction.NONE:
        return UNKNOWN
    sign = {Direction.UP: "+", Direction.DOWN: _MINUS}.get(way, "")
    text = f"{sign}{_fixed(abs(percent), 2)}%"
    return f"{_ARROWS[way]} {text}" if arrow else text


def format_number(value: float, decimals: int) -> str:
    """A number with thousands separators and so many decimals."""
    return UNKNOWN if not math.isfinite(value) else f"{_MINUS if value < 0 else ''}{_fixed(abs(value), decimals)}"


def format_figure(value: float) -> str:
    """A figure of any kind: whole numbers as such, others with two decimals below 100 and none above."""
    whole = float(value).is_integer() or abs(value) >= _SMALL_FIGURE
    return format_number(value, 0 if whole else 2)


def format_share(share: float) -> str:
    """A share of 1 in percent: `97.3%`."""
    return f"{format_number(100 * share, 1)}%"


def format_bytes(size: float) -> str:
    """A size with one decimal and a binary unit."""
    for at_least, english, french in _BYTES:
        if abs(size) >= at_least or at_least == 1:
            return f"{format_number(size / at_least, 0 if at_least == 1 else 1)} {french if spoken() == 'fr' else english}"
    raise AssertionError(size)  # the last unit takes all


def plain_number(value: float, decimals: int) -> str:
    """A number for style sheets, drawings and attributes, which have a language of their own."""
    return f"{value:.{decimals}f}"


def format_count(value: float | None) -> str:
    """An integer with thousands separators."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return format_number(value, 0)
