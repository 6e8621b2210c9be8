"""Kraken, WebSocket v2: trades, best bid and ask, and candles of a minute.

Sources: https://docs.kraken.com/api/docs/websocket-v2 (trade, ticker, ohlc, status, heartbeat, ping), https://docs.kraken.com/api/docs/rest-api
(Trades); frames recorded by others.

- Symbols are `BTC/USD`, in upper case; `XBT/USD` is refused. One acknowledgement a symbol, `success` false with `error` for a refused one.
- Prices and sizes are bare JSON numbers with trailing zeros (`0.00003630`): the text is kept. A frame has several trades. `side` is the taker's.
- `trade_id` rises by 1 for each pair. The snapshot of `trade` is the last 50; it is requested, as it closes small gaps without a refill.
- `ticker` with `event_trigger` `bbo` follows the inner book; without a quote it has zeros, which is refused.
- `ohlc` has no mark of a closed candle, and no rows for quiet minutes: a candle is final when a later one arrives.
- Life: `heartbeat` once a second when nothing else is sent; `status` at the start and at each change, with announced maintenance.
- Limits: undocumented; 150 connections in 10 minutes by its firewall (unconfirmed).
- Refill: `GET /0/public/Trades?pair=&since=<ns>&count=1000`, ascending; `last` is the ns of its last row. By time only: it begins at the trade before
  the gap. Whether `since` is inclusive is not documented, so 1 ns earlier is requested; duplicates are dropped. Pairs are `XBTUSD`. 1 call a second.
- Candles: `GET /0/public/OHLC?pair=&interval=1&since=<s>`, starts above `since`, at most the last 720; quiet minutes are rows; a rounded average.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import ClassVar

import msgspec

from cryptoviz.providers.failures import bad_payload
from cryptoviz.providers.kraken import KrakenHistory, result_of
from cryptoviz.providers.plan import Plan
from cryptoviz.providers.response import HttpResponse
from cryptoviz.trades.gaps import PermanentReason
from cryptoviz.trades.id_runs import IdRun
from cryptoviz.trades.record import Side, TradeNumber
from cryptoviz.venues.base import KlineCall, RefillCall, RefillPage, StreamSession, StreamVenue
from cryptoviz.venues.events import Acked, Announced, Announcement, Event, Heartbeat, Refused, Trades, Unknown, VenueKline
from cryptoviz.venues.refill_rows import RefillRows
from cryptoviz.venues.spec import Channel, Instrument, QuietRule, RefillLimits, StreamLimits, VenueSpec
from cryptoviz.venues.values import number_text, plain, possible, require_decimals, us_of_text

__all__ = ["KrakenVenue"]

NAME = "kraken"
ROWS = 1_000
_CHANNELS = {Channel.TRADES: "trade", Channel.QUOTES: "ticker", Channel.KLINES: "ohlc"}
_NAMES = {name: channel for channel, name in _CHANNELS.items()}
_OPTIONS: Mapping[Channel, Mapping[str, object]] = {
    Channel.TRADES: {"snapshot": True}, Channel.QUOTES: {"event_trigger": "bbo", "snapshot": True}, Channel.KLINES: {"interval": 1, "snapshot": True},
}  # fmt: skip
_REST_BASES = {"BTC": "XBT", "DOGE": "XDG"}
STEP_BACK_US = 60_000_000
DISORDER_NS = 1_000_000_000
"""Rows are ordered by time, and a number may be older than a lower one: only one that is not among the rows from so long before its neighbours to so
long after them does not exist."""
_LOOKED = 100
"""Added to the cursor of a call that looks at the surroundings of a number."""
MAX_STEPS_BACK = 6
"""A gap's first trade may be older than the trade before it, by the venue's clock: asked from 1 minute earlier, then 4, up to 17 hours."""

SPEC = VenueSpec(
    name=NAME,
    display_name="Kraken",
    stream_url="wss://ws.kraken.com/v2",
    refill_url="https://api.kraken.com",
    symbols={
        "bitcoin": "BTC/USD", "ethereum": "ETH/USD", "binancecoin": "BNB/USD", "ripple": "XRP/USD", "cardano": "ADA/USD", "solana": "SOL/USD",
        "polkadot": "DOT/USD", "polygon": "POL/USD", "avalanche": "AVAX/USD", "litecoin": "LTC/USD", "chainlink": "LINK/USD", "uniswap": "UNI/USD",
        "cosmos": "ATOM/USD", "stellar": "XLM/USD", "algorand": "ALGO/USD", "vechain": "VET/USD", "filecoin": "FIL/USD",
    },
    quote="USD",
    contiguous_ids=True,
    quiet=QuietRule.ABSENT,
    channels=frozenset(Channel),
    limits=StreamLimits(
        symbols_per_connection=200,
        messages_per_s=2.0,
        symbols_per_message=50,
        connects=150,
        connects_per_s=600.0,
        alive_s=10.0,  # ten heartbeats
        ping_s=30.0,
    ),
    refill=RefillLimits(rows=ROWS, weight=1, plan=Plan(per_minute=60), min_interval_s=1.0, shares=NAME),
)  # fmt: skip


class _Trade(msgspec.Struct, gc=False):
    symbol: str
    side: str
    price: msgspec.Raw
    qty: msgspec.Raw
    trade_id: TradeNumber
    timestamp: str


class _Trades(msgspec.Struct, gc=False):
    type: str
    data: list[_Trade]


class _Ticker(msgspec.Struct, gc=False):
    symbol: str
    bid: msgspec.Raw
    bid_qty: msgspec.Raw
    ask: msgspec.Raw
    ask_qty: msgspec.Raw
    timestamp: str | None = None


class _Ohlc(msgspec.Struct, gc=False):
    symbol: str
    open: msgspec.Raw
    high: msgspec.Raw
    low: msgspec.Raw
    close: msgspec.Raw
    volume: msgspec.Raw
    vwap: msgspec.Raw
    trades: int
    interval_begin: str
    interval: int


class _Status(msgspec.Struct):
    system: str = ""
    upcoming_maintenance: list[dict[str, msgspec.Raw]] = []


class _Result(msgspec.Struct):
    channel: str = ""
    symbol: str = ""


class _Head(msgspec.Struct):
    channel: str | None = None
    method: str | None = None
    success: bool | None = None
    error: str = ""
    symbol: str = ""
    result: _Result | None = None
    req_id: int | None = None


class _Tickers(msgspec.Struct, gc=False):
    data: list[_Ticker]


class _Ohlcs(msgspec.Struct, gc=False):
    data: list[_Ohlc]


class _Statuses(msgspec.Struct):
    data: list[_Status]


_HEAD = msgspec.json.Decoder(_Head)
_TRADES = msgspec.json.Decoder(_Trades)
_TICKERS = msgspec.json.Decoder(_Tickers)
_OHLCS = msgspec.json.Decoder(_Ohlcs)
_STATUSES = msgspec.json.Decoder(_Statuses)
_TRADE_START = b'{"channel":"trade"'
"""How a frame of trades begins: recognized without a first look at the channel. Written otherwise, it is read the longer way."""


class _Answer(msgspec.Struct):
    result: dict[str, msgspec.Raw]


_Row = tuple[str, str, msgspec.Raw, str, str, str, TradeNumber]
_ANSWER = msgspec.json.Decoder(_Answer)
_ROW_LIST = msgspec.json.Decoder(list[_Row])
_LAST = msgspec.json.Decoder(str)
_OhlcRow = tuple[int, str, str, str, str, str, str, int]
_OHLC_ROWS = msgspec.json.Decoder(list[_OhlcRow])


class KrakenSession(StreamSession):
    """One connection. A refusal names the number of its request, by which its channel is known."""

    def __init__(self, instruments: Sequence[Instrument], channels: Collection[Channel], connection: str) -> None:
        super().__init__(SPEC, instruments, channels, connection)
        self._requests: dict[int, Channel] = {}
        self._last_request = 0

    def subscribe(self) -> list[str]:
        frames: list[str] = []
        for channel, symbols in self._unacked_by_channel():
            self._last_request += 1
            self._requests[self._last_request] = channel
            params = {"channel": _CHANNELS[channel], "symbol": symbols, **_OPTIONS[channel]}
            frames.append(msgspec.json.encode({"method": "subscribe", "params": params, "req_id": self._last_request}).decode())
        return frames

    def ping(self) -> str:
        self._last_request += 1
        return msgspec.json.encode({"method": "ping", "req_id": self._last_request}).decode()

    def _events(self, frame: bytes, ingest_us: int) -> list[Event]:
        if frame.startswith(_TRADE_START):
            return self._trades(_TRADES.decode(frame), ingest_us)
        head = _HEAD.decode(frame)
        match head.channel:
            case "trade":
                return self._trades(_TRADES.decode(frame), ingest_us)
            case "heartbeat":
                return [Heartbeat()]
            case "ticker":
                return self._quotes_of(self._quotes, frame, ingest_us)
            case "ohlc":
                return [self._kline(row, ingest_us) for row in _OHLCS.decode(frame).data]
            case "status":
                return [event for row in _STATUSES.decode(frame).data for event in _announced(row, ingest_us)]
            case None:
                return self._answer(head)
        return [Unknown(head.channel[:60])]

    def _trades(self, frame: _Trades, ingest_us: int) -> list[Event]:
        trades, others = [], []
        for row in frame.data:
            instrument = self.instruments.get(row.symbol)
            if instrument is None:
                others.append(Unknown(f"trade of {row.symbol[:40]}"))
                continue
            if row.side not in _SIDES:
                raise ValueError(f"side {row.side[:40]!r}: valid are buy and sell")
            price, size = plain(number_text(row.price)), plain(number_text(row.qty))
            moment_us = us_of_text(row.timestamp, ingest_us)
            trades.append(self._trade(instrument, row.trade_id, price, size, row.side, moment_us, ingest_us))
        return [Trades(tuple(trades), snapshot=frame.type == "snapshot"), *others]

    def _quotes(self, frame: bytes, ingest_us: int) -> list[Event]:
        return [self._quote(row, ingest_us) for row in _TICKERS.decode(frame).data]

    def _quote(self, row: _Ticker, ingest_us: int) -> Event:
        if row.symbol not in self.instruments:
            return Unknown(f"ticker of {row.symbol[:40]}")
        bid, bid_size, ask, ask_size = (plain(number_text(raw)) for raw in (row.bid, row.bid_qty, row.ask, row.ask_qty))
        moment_us = None if row.timestamp is None else us_of_text(row.timestamp, ingest_us)
        return self._checked_quote(row.symbol, bid, bid_size, ask, ask_size, moment_us, ingest_us)

    def _kline(self, row: _Ohlc, ingest_us: int) -> Event:
        open_us = us_of_text(row.interval_begin, ingest_us)
        if row.symbol not in self.instruments or row.interval != 1 or open_us is None:
            return Unknown(f"ohlc of {row.symbol[:40]}")
        open_, high, low, close, volume, vwap = (plain(number_text(raw)) for raw in (row.open, row.high, row.low, row.close, row.volume, row.vwap))
        require_decimals("a candle", open_, high, low, close, volume, vwap)
        return VenueKline(
            symbol=row.symbol, interval="1m", open_us=open_us, open=open_, high=high, low=low, close=close, volume=volume, closed=None,
            trades=row.trades, vwap=vwap,
        )  # fmt: skip

    def _answer(self, head: _Head) -> list[Event]:
        if head.method == "pong":
            return [Heartbeat()]
        if head.method != "subscribe":
            return [Unknown((head.method or "a message without a channel")[:60])]
        if head.success and head.result is not None:
            channel = _NAMES.get(head.result.channel)
            return [Unknown(f"acknowledgement of {head.result.channel[:40]}")] if channel is None else [Acked(head.result.symbol, str(channel))]
        asked = self._requests.get(head.req_id) if head.req_id is not None else None
        if asked is not None:
            return [Refused(head.symbol, str(asked), head.error)]
        # Without the number of the request: all channels of the symbol, as they name the same pair.
        return [Refused(head.symbol, str(channel), head.error) for channel in self.channels]


_SIDES = frozenset(Side)


def _announced(row: _Status, ingest_us: int) -> list[Event]:
    """The state, and announced maintenance. The names of its times are not documented: the first and the last time of each entry are its window."""
    events: list[Event] = [Announced(Announcement.STATUS, row.system)]
    for entry in row.upcoming_maintenance:
        moments = sorted(moment for raw in entry.values() if (moment := _moment_of(raw, ingest_us)) is not None)
        window = (moments[0], moments[-1]) if moments else (None, None)
        events.append(Announced(Announcement.MAINTENANCE, "maintenance", *window))
    return events


def _moment_of(raw: msgspec.Raw, ingest_us: int) -> int | None:
    """Announced times are ahead, so they are not held against the time of arrival."""
    try:
        return us_of_text(_LAST.decode(raw), ingest_us + 366 * 86_400_000_000)
    except (ValueError, msgspec.DecodeError):
        return None


def _pair(instrument: Instrument) -> str:
    base, _, quote = instrument.symbol.partition("/")
    return f"{_REST_BASES.get(base, base)}{quote}"


class KrakenVenue(StreamVenue):
    """See the module."""

    spec: ClassVar[VenueSpec] = SPEC

    def session(self, instruments: Sequence[Instrument], channels: Collection[Channel], connection: str) -> KrakenSession:
        return KrakenSession(instruments, channels, connection)

    def refill(self, instrument: Instrument, run: IdRun, around_us: tuple[int | None, int | None] = (None, None)) -> RefillCall | None:
        before_us, after_us = around_us
        if before_us is not None:
            return self._call(instrument, run, around_us, before_us * 1_000)
        if after_us is not None:
            return self._call(instrument, run, around_us, (after_us - STEP_BACK_US) * 1_000)
        return None

    def parse_refill(self, response: HttpResponse, call: RefillCall) -> RefillPage:
        result_of(response)
        rows = RefillRows(NAME, call.instrument, response)
        last_ns, times_ns = self._read(response, rows)
        run, first, last = call.run, min(rows.numbers, default=None), max(rows.numbers, default=None)
        if first is None or last is None:
            return RefillPage(())
        absent: tuple[tuple[IdRun, str], ...] = ()
        if first > run.first:
            if call.cursor % _LOOKED < MAX_STEPS_BACK:
                return RefillPage(tuple(rows.trades), next=self._step_back(call))
            absent = ((IdRun(run.first, min(first - 1, run.last)), PermanentReason.TOO_OLD),)
        absent += rows.absent(run, first, last)
        if (look := self._look(call, absent, times_ns, last_ns)) is not None:
            proved = tuple(one for one in absent if one[0].last < look.run.first)
            return RefillPage(tuple(rows.trades), (), proved, look)
        rest = IdRun(max(run.first, last + 1), run.last)
        more = last < run.last and last_ns > int(call.query["since"]) + 1
        cursor = call.cursor if rest.first == run.first else call.cursor % _LOOKED
        following = self._call(call.instrument, rest, call.around_us, last_ns, cursor) if more else None
        return RefillPage(tuple(rows.trades), (), absent, following)

    def _call(self, instrument: Instrument, run: IdRun, around_us: tuple[int | None, int | None], from_ns: int, cursor: int = 0) -> RefillCall:
        query = {"pair": _pair(instrument), "since": str(max(0, from_ns - 1)), "count": str(ROWS)}
        return RefillCall("/0/public/Trades", query, instrument, run, around_us, cursor=cursor)

    def _step_back(self, call: RefillCall) -> RefillCall:
        """The trades begin after the gap's first: ask from an earlier time."""
        earlier_ns = int(call.query["since"]) - STEP_BACK_US * 4 ** (call.cursor % _LOOKED) * 1_000
        return self._call(call.instrument, call.run, call.around_us, earlier_ns, call.cursor + 1)

    def _look(self, call: RefillCall, absent: Sequence[tuple[IdRun, str]], times_ns: Mapping[int, int], last_ns: int) -> RefillCall | None:
        """The call for the surroundings of the first number that the answer lacks without having them; None: there is none, or it was that call."""
        is_full = len(times_ns) >= ROWS
        for run, reason in absent:
            if reason != PermanentReason.NOT_AT_VENUE or (call.cursor >= _LOOKED and run.first == call.run.first):
                continue
            before_ns = times_ns[max(number for number in times_ns if number < run.first)]
            after_ns = times_ns[min(number for number in times_ns if number > run.last)]
            if int(call.query["since"]) > before_ns - DISORDER_NS or (is_full and last_ns < after_ns + DISORDER_NS):
                rest = IdRun(run.first, call.run.last)
                return self._call(call.instrument, rest, call.around_us, before_ns - DISORDER_NS, call.cursor % _LOOKED + _LOOKED)
        return None

    def _read(self, response: HttpResponse, rows: RefillRows) -> tuple[int, dict[int, int]]:
        """Collect the rows, from the text, as their times have more digits than a double; returns `last`, and the time of each number, in ns."""
        times_ns: dict[int, int] = {}
        try:
            result = _ANSWER.decode(response.body).result
            last_ns = int(_LAST.decode(result.pop("last")))
            (listed,) = result.values()
            for price, size, moment, side, _, _, number in _ROW_LIST.decode(listed):
                times_ns[number] = int(Decimal(number_text(moment)) * 1_000_000_000)
                moment_us = possible(times_ns[number] // 1_000, rows.ingest_us)
                rows.add(number, plain(price), plain(size), {"b": Side.BUY, "s": Side.SELL}[side], moment_us)
        except (msgspec.DecodeError, ArithmeticError, ValueError, KeyError, RecursionError) as error:
            raise bad_payload(NAME, f"not a list of trades: {type(error).__name__}: {error}") from None
        return last_ns, times_ns

    def klines(self, instrument: Instrument, first_us: int, until_us: int) -> KlineCall:
        query = {"pair": _pair(instrument), "interval": "1", "since": str(first_us // 1_000_000 - 1)}
        return KlineCall(KrakenHistory.path, query, instrument, first_us, until_us)

    def parse_klines(self, response: HttpResponse, call: KlineCall) -> list[VenueKline]:
        result_of(response)
        found = []
        try:
            result = _ANSWER.decode(response.body).result
            result.pop("last", None)
            (listed,) = result.values()
            for start, open_, high, low, close, vwap, volume, trades in _OHLC_ROWS.decode(listed):
                require_decimals("a candle", open_, high, low, close, vwap, volume)
                found.append(
                    VenueKline(
                        symbol=call.instrument.symbol, interval="1m", open_us=start * 1_000_000, open=open_, high=high, low=low, close=close,
                        volume=volume, closed=True, trades=trades, vwap=vwap,
                    )
                )  # fmt: skip
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise bad_payload(NAME, f"not a list of candles: {type(error).__name__}: {error}") from None
        return [one for one in found if call.first_us <= one.open_us < call.until_us]
