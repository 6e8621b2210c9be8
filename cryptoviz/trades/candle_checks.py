"""Our candles held against the venue's own: equal, or what differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal

import msgspec

from cryptoviz.trades.candle import TradeCandle

__all__ = ["CandleCheck", "Difference", "VenueCandle", "check_candle"]

_CONTEXT = Context(prec=120)


class Difference(msgspec.Struct, frozen=True):
    """A field of a candle in which we and the venue differ, as decimal text; `-` without a value."""

    field: str
    ours: str
    theirs: str


class CandleCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one comparison.

    Attributes:
        open_us: start of the candle, UTC epoch us.
        fields: how many values the venue gave.
        differences: empty if all are equal.
    """

    venue: str
    venue_symbol: str
    interval: str
    open_us: int
    equal: bool
    fields: int
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class VenueCandle:
    """The venue's candle: the values that it gives, by our names for them.

    Attributes:
        exact: fields of `TradeCandle` -> decimal text.
        rounded: the same for values that the venue rounds, compared to its digits with a tolerance of 1 in the last.
    """

    interval: str
    open_us: int
    exact: Mapping[str, str]
    rounded: Mapping[str, str]

    @property
    def quiet(self) -> bool:
        return not Decimal(self.exact["volume"])


def check_candle(venue: str, symbol: str, ours: TradeCandle | None, theirs: VenueCandle) -> CandleCheck:
    """Compare. Without a candle of ours, theirs is equal if it has no volume: we have no row, they have one that says so."""
    given = {**theirs.exact, **theirs.rounded}
    if ours is None:
        different = () if theirs.quiet else tuple(Difference(name, "-", text) for name, text in given.items())
    else:
        different = tuple(
            Difference(name, _text(getattr(ours, name)), text)
            for name, text in given.items()
            if not _is_equal(getattr(ours, name), text, rounded=name in theirs.rounded)
        )
    return CandleCheck(
        venue=venue, venue_symbol=symbol, interval=theirs.interval, open_us=theirs.open_us, equal=not different, fields=len(given),
        differences=different,
    )  # fmt: skip


def _is_equal(ours: Decimal | int | None, text: str, *, rounded: bool) -> bool:
    if ours is None:
        # Without trades, numbers of trades are -1 and an average is 0 in the venue's words.
        return Decimal(text) <= 0
    theirs, mine = Decimal(text), Decimal(ours)
    if not rounded:
        return mine == theirs
    exponent = theirs.as_tuple().exponent
    unit = Decimal(1).scaleb(exponent if isinstance(exponent, int) else 0)
    return abs(_CONTEXT.subtract(mine.quantize(unit, ROUND_HALF_UP, _CONTEXT), theirs)) <= unit


def _text(value: Decimal | int | None) -> str:
    return "-" if value is None else f"{value:f}" if isinstance(value, Decimal) else str(value)
