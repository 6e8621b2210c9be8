"""Binance spot: raw trades, best bid and ask, and candles of a minute.

Sources: https://github.com/binance/binance-spot-api-docs, web-socket-streams.md and rest-api.md at a5e0bc3 (2026); frames recorded by others.

- Stream: `/ws` of a market-data host; streams are requested by `SUBSCRIBE`, in lower case. `timeUnit=MICROSECOND` in the address makes times us
  instead of ms; both are read, by their digits. A combined stream wraps each frame as `{"stream": .., "data": ..}`; read too.
- Trade `t` rises by 1 for each symbol. `m` = the buyer is the maker, so the taker sold. A row with price and quantity 0 is void (2022-04).
- An acknowledgement `{"result": null, "id": 1}` says nothing about symbols: an unknown one is accepted, and silent. Errors are flat or below `error`.
- `bookTicker` has neither a type nor a time. A candle that will not change has `x` = true; one without trades has `f` = `L` = -1.
- Life: the server pings each 20 s and closes after 60 s without a pong; a connection ends after 24 h; `serverShutdown` announces the end of one.
- Limits: 5 messages a second from the client, pongs included; 1 024 streams a connection; 300 connections in 5 minutes.
- Refill: `GET /api/v3/historicalTrades?fromId=`, inclusive, ascending, 1 000 rows, weight 25 of 6 000 a minute, no key; back to the first trade.
  Not served by the market-data host. The header `X-MBX-TIME-UNIT: MICROSECOND` makes its times us.
- Candles: `GET /api/v3/klines`, weight 2; `startTime` and `endTime` in ms, both inclusive, of their starts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

import msgspec

from cryptoviz.providers.binance import SPEC as PROVIDER
from cryptoviz.providers.binance import BinanceHistory, error_of
from cryptoviz.providers.failures import bad_payload
from cryptoviz.providers.plan import Plan
from cryptoviz.providers.response import HttpResponse, decode_response
from cryptoviz.trades.id_runs import IdRun
from cryptoviz.trades.record import Side, TradeNumber
from cryptoviz.venues.base import KlineCall, RefillCall, RefillPage, StreamSession, StreamVenue
from cryptoviz.venues.events import Acked, Announced, Announcement, Event, Refused, Trades, Unknown, VenueKline, Voided
from cryptoviz.venues.refill_rows import RefillRows
from cryptoviz.venues.spec import Channel, Instrument, QuietRule, RefillLimits, StreamLimits, VenueSpec
from cryptoviz.venues.values import is_zero, require_decimals, us_of_count

__all__ = ["BinanceVenue"]

NAME = "binance"
ROWS = 1_000
_STREAMS = {Channel.TRADES: "trade", Channel.QUOTES: "bookTicker", Channel.KLINES: "kline_1m"}
_TRADE_START = b'{"e":"trade"'
"""How a trade begins: recognized without a first look at the type, which halves the cost. Written otherwise, it is read the longer way."""

SPEC = VenueSpec(
    name=NAME,
    display_name="Binance",
    stream_url="wss://data-stream.binance.vision",
    refill_url="https://api.binance.com",
    symbols=PROVIDER.asset_ids,
    quote="USDT",
    contiguous_ids=True,
    quiet=QuietRule.ROW,
    channels=frozenset(Channel),
    limits=StreamLimits(
        symbols_per_connection=300,  # three streams each, of 1 024
        messages_per_s=4.0,  # of 5, as pongs count
        symbols_per_message=100,
        connects=300,
        connects_per_s=300.0,
        lifetime_s=86_400.0,
        alive_s=60.0,  # three of the server's pings
    ),
    refill=RefillLimits(rows=ROWS, weight=25, plan=Plan(per_minute=6_000), min_interval_s=0.1, shares=NAME),
)


class _Trade(msgspec.Struct, gc=False):
    s: str
    t: TradeNumber
    p: str
    q: str
    T: int
    m: bool


class _Book(msgspec.Struct, gc=False):
    u: int
    s: str
    b: str
    B: str
    a: str
    A: str


class _Kline(msgspec.Struct, gc=False):
    t: int
    i: str
    f: int
    L: int
    o: str
    c: str
    h: str
    l: str  # noqa: E741 - the venue's name
    v: str
    n: int
    x: bool
    q: str
    V: str
    Q: str


class _KlineFrame(msgspec.Struct, gc=False):
    s: str
    k: _Kline


class _Error(msgspec.Struct):
    msg: str = ""


class _Head(msgspec.Struct):
    """What tells the kinds of frames apart."""

    e: str | None = None
    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    u: msgspec.Raw = msgspec.Raw(b"")
    id: int | str | None = None
    error: _Error | None = None
    code: int | None = None
    msg: str = ""


class _Row(msgspec.Struct, gc=False):
    id: TradeNumber
    price: str
    qty: str
    time: int
    isBuyerMaker: bool  # noqa: N815 - the venue's name


_HEAD = msgspec.json.Decoder(_Head)
_TRADE = msgspec.json.Decoder(_Trade)
_BOOK = msgspec.json.Decoder(_Book)
_KLINE = msgspec.json.Decoder(_KlineFrame)
_ROWS = msgspec.json.Decoder(list[_Row])
_KlineRow = tuple[int, str, str, str, str, str, int, str, int, str, str, str]
_KLINE_ROWS = msgspec.json.Decoder(list[_KlineRow])


class BinanceSession(StreamSession):
    """One connection. Requests are numbered, as acknowledgements name only the number."""

    def __init__(self, instruments: Sequence[Instrument], channels: Collection[Channel], connection: str) -> None:
        super().__init__(SPEC, instruments, channels, connection)
        self._requests: dict[int, list[tuple[str, str]]] = {}
        self._last_request = 0

    def subscribe(self) -> list[str]:
        frames: list[str] = []
        for channel, symbols in self._unacked_by_channel():
            self._last_request += 1
            self._requests[self._last_request] = [(symbol, str(channel)) for symbol in symbols]
            params = [f"{symbol.lower()}@{_STREAMS[channel]}" for symbol in symbols]
            frames.append(msgspec.json.encode({"method": "SUBSCRIBE", "params": params, "id": self._last_request}).decode())
        return frames

    def _events(self, frame: bytes, ingest_us: int) -> list[Event]:
        if frame.startswith(_TRADE_START):
            return [self._trade_of(_TRADE.decode(frame), ingest_us)]
        head = _HEAD.decode(frame)
        if head.stream is not None:
            data = bytes(head.data)
            if _HEAD.decode(data).stream is not None:
                raise self.wrong("shape", "a stream within a stream")
            return self._events(data, ingest_us)
        if head.e is not None:
            return self._typed(head.e, frame, ingest_us)
        if bytes(head.u):
            return self._quotes_of(self._quote, frame, ingest_us)
        return self._answer(head)

    def _typed(self, kind: str, frame: bytes, ingest_us: int) -> list[Event]:
        if kind == "trade":
            return [self._trade_of(_TRADE.decode(frame), ingest_us)]
        if kind == "kline":
            return self._kline(_KLINE.decode(frame), ingest_us)
        if kind == "serverShutdown":
            return [Announced(Announcement.SHUTDOWN, kind)]
        return [Unknown(kind[:60])]

    def _trade_of(self, row: _Trade, ingest_us: int) -> Event:
        instrument = self.instruments.get(row.s)
        if instrument is None:
            return Unknown(f"trade of {row.s[:40]}")
        if is_zero(row.p) and is_zero(row.q):
            return Trades((), (Voided(row.s, row.t),))
        side = Side.SELL if row.m else Side.BUY
        return Trades((self._trade(instrument, row.t, row.p, row.q, side, us_of_count(row.T, ingest_us), ingest_us),))

    def _quote(self, frame: bytes, ingest_us: int) -> list[Event]:
        row = _BOOK.decode(frame)
        if row.s not in self.instruments:
            return [Unknown(f"bookTicker of {row.s[:40]}")]
        return [self._checked_quote(row.s, row.b, row.B, row.a, row.A, None, ingest_us, row.u)]

    def _kline(self, frame: _KlineFrame, ingest_us: int) -> list[Event]:
        k, open_us = frame.k, us_of_count(frame.k.t, ingest_us)
        if frame.s not in self.instruments or open_us is None:
            return [Unknown(f"kline of {frame.s[:40]}")]
        require_decimals("a candle", k.o, k.h, k.l, k.c, k.v, k.q, k.V, k.Q)
        return [
            VenueKline(
                symbol=frame.s, interval=k.i, open_us=open_us, open=k.o, high=k.h, low=k.l, close=k.c, volume=k.v, closed=k.x, quote_volume=k.q,
                trades=k.n, taker_buy_volume=k.V, taker_buy_quote_volume=k.Q, first_trade=k.f, last_trade=k.L,
            )
        ]  # fmt: skip

    def _answer(self, head: _Head) -> list[Event]:
        """An acknowledgement, or an error with or without the number of its request."""
        asked = self._requests.pop(head.id, []) if isinstance(head.id, int) else []
        text = head.error.msg if head.error is not None else head.msg
        if head.error is not None or head.code is not None:
            return [Refused(symbol, channel, text) for symbol, channel in asked] or [Refused("", "", text)]
        if head.id is None:
            return [Unknown("a message without a type")]
        return [Acked(symbol, channel) for symbol, channel in asked]


class BinanceVenue(StreamVenue):
    """See the module."""

    spec: ClassVar[VenueSpec] = SPEC

    def url(self, root: str = "") -> str:
        return f"{(root or SPEC.stream_url).rstrip('/')}/ws?timeUnit=MICROSECOND"

    def session(self, instruments: Sequence[Instrument], channels: Collection[Channel], connection: str) -> BinanceSession:
        return BinanceSession(instruments, channels, connection)

    def refill(self, instrument: Instrument, run: IdRun, around_us: tuple[int | None, int | None] = (None, None)) -> RefillCall:
        query = {"symbol": instrument.symbol, "fromId": str(run.first), "limit": str(min(ROWS, run.size))}
        return RefillCall("/api/v3/historicalTrades", query, instrument, run, around_us, {"X-MBX-TIME-UNIT": "MICROSECOND"})

    def parse_refill(self, response: HttpResponse, call: RefillCall) -> RefillPage:
        if response.status != 200:
            raise error_of(response, decode_response(NAME, response, PROVIDER.status_reasons))
        try:
            answer = _ROWS.decode(response.body)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise bad_payload(NAME, f"not a list of trades: {error}") from None
        rows = RefillRows(NAME, call.instrument, response)
        for row in answer:
            if is_zero(row.price) and is_zero(row.qty):
                rows.void(row.id)
            else:
                side = Side.SELL if row.isBuyerMaker else Side.BUY
                rows.add(row.id, row.price, row.qty, side, us_of_count(row.time, rows.ingest_us))
        last = max(rows.numbers, default=call.run.first - 1)
        more = call.run.first <= last < call.run.last
        return RefillPage(
            tuple(rows.trades), tuple(rows.voided), rows.absent(call.run, call.run.first, last),
            self.refill(call.instrument, IdRun(last + 1, call.run.last), call.around_us) if more else None,
        )  # fmt: skip

    def klines(self, instrument: Instrument, first_us: int, until_us: int) -> KlineCall:
        first_ms, last_ms = first_us // 1_000, until_us // 1_000 - 1
        query = {"symbol": instrument.symbol, "interval": "1m", "startTime": str(first_ms), "endTime": str(last_ms), "limit": str(ROWS)}
        return KlineCall(BinanceHistory.path, query, instrument, first_us, until_us)

    def parse_klines(self, response: HttpResponse, call: KlineCall) -> list[VenueKline]:
        if response.status != 200:
            raise error_of(response, decode_response(NAME, response, PROVIDER.status_reasons))
        found = []
        try:
            for start, open_, high, low, close, volume, _, quote, trades, taken, taken_quote, _ in _KLINE_ROWS.decode(response.body):
                require_decimals("a candle", open_, high, low, close, volume, quote, taken, taken_quote)
                found.append(
                    VenueKline(
                        symbol=call.instrument.symbol, interval="1m", open_us=start * 1_000, open=open_, high=high, low=low, close=close,
                        volume=volume, closed=True, quote_volume=quote, trades=trades, taker_buy_volume=taken, taker_buy_quote_volume=taken_quote,
                    )
                )  # fmt: skip
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise bad_payload(NAME, f"not a list of candles: {error}") from None
        return [one for one in found if call.first_us <= one.open_us < call.until_us]
