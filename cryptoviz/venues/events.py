"""What a frame of a venue's stream says, in our terms. Times are UTC epoch microseconds; amounts are decimal text as the venue wrote them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cryptoviz.trades.candle_checks import VenueCandle
from cryptoviz.trades.record import Trade

__all__ = ["Acked", "Announced", "Announcement", "Event", "Heartbeat", "Quote", "Refused", "Trades", "Unknown", "VenueKline", "Voided"]


class Announcement(StrEnum):
    """What a venue announces about a connection or about trading."""

    SHUTDOWN = "shutdown"
    """The connection will be closed soon: open its successor now."""
    MAINTENANCE = "maintenance"
    """No trading in [`from_us`, `to_us`), where known: silence in it is a halt."""
    STATUS = "status"
    """The venue's state has changed; `text` has its own word."""


@dataclass(frozen=True, slots=True)
class Voided:
    """An id that the venue gave to a row which is no trade (`p=q=0`). It counts as present: there is no gap at it."""

    symbol: str
    trade_number: int


@dataclass(frozen=True, slots=True)
class Trades:
    """Trades of a frame, in its order, which may be any. A frame can hold several, of several symbols.

    Attributes:
        snapshot: trades from before the subscription, which may have been received already.
    """

    trades: tuple[Trade, ...]
    voided: tuple[Voided, ...] = ()
    snapshot: bool = False


@dataclass(frozen=True, slots=True)
class Acked:
    """The venue accepted the subscription of `symbol` to `channel` (as in `StreamVenue.channels`)."""

    symbol: str
    channel: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The venue refused the subscription of `symbol`: an error of the settings or a delisted pair, not a quiet market.

    Attributes:
        symbol: empty if the refusal names none; then it concerns each symbol of the request that is not acknowledged.
        reason: the venue's text.
    """

    symbol: str
    channel: str
    reason: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The connection is alive. It is no data: a market whose trades do not arrive may have heartbeats.

    Attributes:
        symbol: None if it concerns the connection.
        last_trade: number of the last trade of `symbol`, if the venue states it: see `GapTracker.expect`.
        venue_us: the venue's time of the statement, UTC epoch us.
    """

    symbol: str | None = None
    last_trade: int | None = None
    venue_us: int | None = None


@dataclass(frozen=True, slots=True)
class Announced:
    """`text` is the venue's own. `from_us` and `to_us`: None if not stated."""

    kind: Announcement
    text: str
    from_us: int | None = None
    to_us: int | None = None


@dataclass(frozen=True, slots=True)
class Quote:
    """Best bid and ask. `venue_ts` is None where the venue gives no time; `sequence` is its own counter."""

    symbol: str
    bid: str
    bid_size: str
    ask: str
    ask_size: str
    venue_ts: int | None
    ingest_ts: int
    sequence: int | None = None


@dataclass(frozen=True, slots=True)
class VenueKline:
    """A candle that the venue computed. Used only to check ours. Fields that a venue does not give are None.

    Attributes:
        interval: `1m`, as `cryptoviz.trades.candles.INTERVALS_US`.
        open_us: start of the interval.
        closed: the venue says that it will not change again; None: it does not say, and it is final once a later one arrives.
        first_trade, last_trade: numbers of its trades; -1 both: there are none.
    """

    symbol: str
    interval: str
    open_us: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    closed: bool | None
    quote_volume: str | None = None
    trades: int | None = None
    taker_buy_volume: str | None = None
    taker_buy_quote_volume: str | None = None
    vwap: str | None = None
    first_trade: int | None = None
    last_trade: int | None = None

    def candle(self) -> VenueCandle:
        """As `cryptoviz.trades.candle_checks` compares it. An average is rounded by the venue, everything else is exact."""
        exact = {
            "open": self.open, "high": self.high, "low": self.low, "close": self.close, "volume": self.volume, "quote_volume": self.quote_volume,
            "trades": self.trades, "taker_buy_volume": self.taker_buy_volume, "taker_buy_quote_volume": self.taker_buy_quote_volume,
            "first_trade": self.first_trade, "last_trade": self.last_trade,
        }  # fmt: skip
        rounded = {} if self.vwap is None else {"vwap": self.vwap}
        given = {name: str(value) for name, value in exact.items() if value is not None}
        return VenueCandle(self.interval, self.open_us, given, rounded)


@dataclass(frozen=True, slots=True)
class Unknown:
    """A well-formed message of a kind that we do not know: counted, and otherwise ignored. `kind`: the venue's word, at most 60 characters."""

    kind: str


Event = Trades | Acked | Refused | Heartbeat | Announced | Quote | VenueKline | Unknown
