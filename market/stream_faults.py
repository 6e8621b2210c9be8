"""The kinds of faults of streams, of the REST refill, and of the trades themselves. `market.streams` implements them."""

from __future__ import annotations

from pydantic import Field

from market.faults import Parameters
from market.trade_counts import MAX_PER_SECOND

__all__ = ["STREAM_FAULT_KINDS", "ActionParameters", "StreamParameters", "TradeParameters"]

_MAX_BYTES = 256 * 1024 * 1024


class StreamParameters(Parameters):
    """Faults of streams; they do not count HTTP requests. `symbols` are those of the venue's stream; empty: all."""

    symbols: tuple[str, ...] = ()


class TradeParameters(StreamParameters):
    """Faults of single trades: `count` and `every` count trades of the symbols. All connections get the same."""


class StreamDrop(TradeParameters):
    """The trade is not sent; a refill returns it."""


class StreamDuplicate(TradeParameters):
    """The trade is sent twice."""


class StreamReorder(TradeParameters):
    """The trade is sent after its successor."""


class StreamGarbage(TradeParameters):
    """A text frame that is not JSON is sent before the trade."""

    text: str = Field(default="\x00not JSON", max_length=1_000)


class StreamTruncated(TradeParameters):
    """Only the first `fraction` of the trade's frame is sent, as a whole frame."""

    fraction: float = Field(default=0.5, ge=0, lt=1)


class StreamHuge(TradeParameters):
    """The trade's frame is padded with spaces to `size_bytes`."""

    size_bytes: int = Field(default=16 * 1024 * 1024, ge=1, le=_MAX_BYTES)


class StreamSilent(StreamParameters):
    """No data of the symbols; heartbeats, pings and acknowledgements continue."""


class StreamRefused(StreamParameters):
    """Subscriptions of the symbols are refused, in the venue's way."""


class StreamMaxAge(StreamParameters):
    """Connections are closed at an age of `seconds`, as Binance does after 24 hours. `symbols` has no effect."""

    seconds: float = Field(default=60.0, gt=0, le=86_400)


class StreamSlowReader(StreamParameters):
    """A connection with more than `buffer_bytes` unread is reset; 16 MiB without this fault. `symbols` has no effect."""

    buffer_bytes: int = Field(default=64 * 1024, ge=1_024, le=_MAX_BYTES)


class RefillLate(StreamParameters):
    """The REST trades lag behind the stream by `seconds`."""

    seconds: float = Field(default=5.0, gt=0, le=86_400)


class RefillShort(StreamParameters):
    """The REST trades reach back only `seconds`."""

    seconds: float = Field(default=60.0, gt=0, le=10**7)


class RefillLimited(StreamParameters):
    """Requests for REST trades get the venue's rate-limit error. `symbols` has no effect."""


class ActionParameters(StreamParameters):
    """Done once, at once, to all open connections of the venue. `symbols` has no effect."""


class StreamHalfOpen(ActionParameters):
    """Open connections get nothing more, no close either, and are not read; new connections work."""


class StreamClose(ActionParameters):
    """Open connections are closed with `code`; 1006 closes the TCP connection only."""

    code: int = Field(default=1001, ge=1000, le=4999)
    reason: str = Field(default="", max_length=100)


class StreamShutdown(ActionParameters):
    """The venue announces the end of the connections (Binance: `serverShutdown`, Kraken: status `maintenance`), and closes after `announce_s`.

    New connections are accepted at once and stay.
    """

    announce_s: float = Field(default=10.0, ge=0, le=3_600)


class StreamMaintenance(ActionParameters):
    """Announced `announce_s` ahead (Kraken: `upcoming_maintenance`); then connections close and new ones get status 503 for `down_s`.

    Trades continue meanwhile; `trade_rate` with 0 stops them.
    """

    announce_s: float = Field(default=10.0, ge=0, le=3_600)
    down_s: float = Field(default=10.0, ge=0, le=3_600)


class TradeRate(StreamParameters):
    """`per_s` trades per market second of each symbol, from the next second on until the fault ends; 0 is a halt, after which the ids continue."""

    per_s: float = Field(ge=0, le=MAX_PER_SECOND)


class TradeIdJump(StreamParameters):
    """From the next second on, ids are higher by `by`: no trades have the ids between. It stays after the fault."""

    by: int = Field(default=1_000, ge=1, le=10**9)


STREAM_FAULT_KINDS: dict[str, type[StreamParameters]] = {
    "stream_drop": StreamDrop,
    "stream_duplicate": StreamDuplicate,
    "stream_reorder": StreamReorder,
    "stream_garbage": StreamGarbage,
    "stream_truncated": StreamTruncated,
    "stream_huge": StreamHuge,
    "stream_silent": StreamSilent,
    "stream_refused": StreamRefused,
    "stream_max_age": StreamMaxAge,
    "stream_slow_reader": StreamSlowReader,
    "refill_late": RefillLate,
    "refill_short": RefillShort,
    "refill_limited": RefillLimited,
    "stream_half_open": StreamHalfOpen,
    "stream_close": StreamClose,
    "stream_shutdown": StreamShutdown,
    "stream_maintenance": StreamMaintenance,
    "trade_rate": TradeRate,
    "trade_id_jump": TradeIdJump,
}
