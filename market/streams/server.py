"""The streams of all venues: connections, the clock that sends new trades, and the faults of streams.

One task per market sends what is new every 20 ms while anyone is connected. Each subscription is encoded once and sent to all its connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web

from cryptoviz.clock import Clock
from market.faultbook import ActiveFault, FaultBook, latest
from market.faults import ClockSkew
from market.quotes import Market
from market.stream_faults import (
    StreamClose,
    StreamHalfOpen,
    StreamMaintenance,
    StreamMaxAge,
    StreamRefused,
    StreamShutdown,
    StreamSilent,
    StreamSlowReader,
    TradeIdJump,
    TradeParameters,
    TradeRate,
)
from market.streams.binance import BinanceStreams
from market.streams.changes import Reordering, changed_frames, runs_of
from market.streams.coinbase import CoinbaseStreams
from market.streams.connection import Connection, text_frame
from market.streams.kraken import KrakenStreams
from market.streams.ledger import StreamLedger
from market.streams.protocol import Frame, Hub, Key, StreamProtocol, Update
from market.tape import Trade
from market.trade_book import VENUES, Instrument, TradeBook

__all__ = ["PROTOCOLS", "Streams"]

PROTOCOLS: dict[str, StreamProtocol] = {protocol.venue: protocol for protocol in (BinanceStreams(), KrakenStreams(), CoinbaseStreams())}

_TICK_S = 0.02
_MAX_TRADES_PER_TICK = 10_000
"""Per instrument; the rest follows in the next tick."""
_BUFFER_BYTES = 16 * 1024 * 1024
_MAX_MESSAGE_BYTES = 64 * 1024
_DAY_CACHE_S = 10
_KEPT_RECEIVED = 16
"""Times of received messages kept for the limits per second."""


@dataclass(slots=True)
class _Feed:
    """An instrument with subscribers."""

    instrument: Instrument
    cursor: int
    """Id of the last trade that was sent or withheld."""
    last_s: int
    reordering: Reordering = field(default_factory=Reordering)
    keys: dict[Key, set[Connection]] = field(default_factory=dict)


class Streams(Hub):
    """All connections. One event loop only."""

    def __init__(self, clock: Clock, market: Market, book: TradeBook, faults: FaultBook) -> None:
        self.ledger = StreamLedger()
        self._clock = clock
        self._market = market
        self._book = book
        self._faults = faults
        self._connections: set[Connection] = set()
        self._feeds: dict[tuple[str, str], _Feed] = {}
        self._task: asyncio.Task[None] | None = None
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._down_s: dict[str, tuple[float, float]] = {}
        self._days: dict[tuple[str, str], tuple[int, tuple[float, float, float, float]]] = {}

    # connections

    async def serve(self, http: web.Request, venue: str, path: str) -> web.StreamResponse:
        """Upgrade the request and serve the connection until it ends."""
        begin, end = self._down_s.get(venue, (0.0, 0.0))
        if begin <= self._clock.monotonic_s() < end:
            return web.Response(status=503, text="Service Unavailable")
        socket = web.WebSocketResponse(autoping=False, autoclose=False, compress=False, max_msg_size=_MAX_MESSAGE_BYTES)
        await socket.prepare(http)
        transport, protocol = http.transport, PROTOCOLS[venue]
        if transport is None:
            return socket
        entry = self.ledger.open(venue, http.path_qs, self._clock.now_ms())
        connection = Connection(venue, path, dict(http.query), transport, entry, self._clock.monotonic_s())
        self._connections.add(connection)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            protocol.opened(connection, self)
            while not connection.closing or not transport.is_closing():
                message = await socket.receive()
                if message.type in (WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR):
                    break
                if self._handle(connection, protocol, message.type, message.data):
                    await socket.close()
                    break
        finally:
            self._remove(connection)
        return socket

    async def stop(self) -> None:
        """Close all connections."""
        for connection in list(self._connections):
            connection.reset("the market stops")
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _handle(self, connection: Connection, protocol: StreamProtocol, kind: WSMsgType, data: str | bytes) -> bool:
        """Handle a message; whether the client has closed."""
        if connection.muted:  # half open: nothing is answered, until TCP ends
            return False
        now_s = self._clock.monotonic_s()
        if kind == WSMsgType.CLOSE:
            connection.entry.close_reason = connection.entry.close_reason or "closed by the client"
            return True
        connection.received_s = [*connection.received_s[-_KEPT_RECEIVED:], now_s]
        if kind == WSMsgType.PING:
            connection.pong(bytes(data) if isinstance(data, bytes | bytearray) else b"")
        elif kind == WSMsgType.PONG:
            connection.unanswered_s = None
        elif isinstance(data, str):
            protocol.received(connection, data, self)
        return False

    def _remove(self, connection: Connection) -> None:
        self._connections.discard(connection)
        for key in list(connection.subscriptions):
            if isinstance(key, Key):
                self.unsubscribe(connection, key)
        connection.entry.closed_ms = self._clock.now_ms()
        connection.entry.close_reason = connection.entry.close_reason or "connection lost"

    # the protocols' view

    def instruments(self, venue: str) -> Mapping[str, Instrument]:
        return self._book.instruments[venue]

    def refused(self, venue: str) -> Callable[[str], bool]:
        return self._meets(venue, StreamRefused)

    def now_us(self, venue: str) -> int:
        return self._clock.now_ms() * 1_000 + self._skew_us(venue)

    def subscribe(self, connection: Connection, key: Key) -> Update:
        place = (connection.venue, key.symbol)
        now_us = self._book.market_us(self._clock.now_ms())
        feed = self._feeds.get(place)
        if feed is None:
            instrument = self._book.instruments[connection.venue][key.symbol]
            feed = self._feeds[place] = _Feed(instrument, instrument.tape.count(now_us), now_us // 1_000_000)
        else:
            self._tick_feed(feed, now_us)
        feed.keys.setdefault(key, set()).add(connection)
        connection.subscriptions[key] = key.symbol
        return self._update(feed, [], now_us)

    def unsubscribe(self, connection: Connection, key: Key) -> None:
        connection.subscriptions.pop(key, None)
        feed = self._feeds.get((connection.venue, key.symbol))
        if feed is not None and key in feed.keys:
            feed.keys[key].discard(connection)
            if not feed.keys[key]:
                del feed.keys[key]
            if not feed.keys:
                del self._feeds[connection.venue, key.symbol]

    def last_trades(self, symbol: Instrument, limit: int) -> list[Trade]:
        feed = self._feeds[symbol.venue, symbol.symbol]
        return symbol.tape.last(feed.cursor + 1, self._book.market_us(self._clock.now_ms()), limit)

    def send(self, connection: Connection, symbol: str, frame: Frame) -> None:
        if not self._meets(connection.venue, StreamSilent)(symbol):
            connection.sent_s = self._clock.monotonic_s()
            connection.send_frames([text_frame(frame.payload)], symbol if frame.trades else "", frame.trades)

    # time

    async def _run(self) -> None:
        while self._connections:
            began = time.perf_counter()
            self._tick()
            await asyncio.sleep(max(0.001, _TICK_S - (time.perf_counter() - began)))

    def _tick(self) -> None:
        now_s, now_us = self._clock.monotonic_s(), self._book.market_us(self._clock.now_ms())
        due = [action for at, action in self._later if at <= now_s]
        self._later = [(at, action) for at, action in self._later if at > now_s]
        for action in due:
            action()
        for feed in list(self._feeds.values()):
            self._tick_feed(feed, now_us)
        for connection in list(self._connections):
            faults = self._faults.peek(connection.venue, now_s)
            if connection.muted or connection.closing:
                continue
            PROTOCOLS[connection.venue].beat(connection, now_s, self)
            age, slow = latest(faults, StreamMaxAge), latest(faults, StreamSlowReader)
            if age is not None and now_s - connection.opened_s >= age.seconds:
                connection.close(1001, "Maximum connection age")
            if connection.unread_bytes > (slow.buffer_bytes if slow is not None else _BUFFER_BYTES):
                connection.reset("slow reader")

    def _tick_feed(self, feed: _Feed, now_us: int) -> None:
        instrument, now_s = feed.instrument, self._clock.monotonic_s()
        venue, symbol, protocol = instrument.venue, instrument.symbol, PROTOCOLS[instrument.venue]
        trades = instrument.tape.trades(feed.cursor + 1, now_us, _MAX_TRADES_PER_TICK)
        update = self._update(feed, trades, now_us)
        if not trades and not update.new_second:
            return
        feed.cursor = trades[-1].trade_id if trades else feed.cursor
        feed.last_s = max(feed.last_s, update.now_s)
        faults = self._faults.peek(venue, now_s)
        if self._meets(venue, StreamSilent)(symbol):
            heartbeats = [key for key in feed.keys if key.channel == "heartbeat"]
            for key in heartbeats:
                self._send(key, feed, protocol.frames(key, update), now_s)
            return
        runs = runs_of(trades, symbol, [fault for fault in faults if isinstance(fault.parameters, TradeParameters)], now_s, feed.reordering)
        # trades first: a candle is closed after its last trade
        for key in sorted(feed.keys, key=lambda key: key.channel not in protocol.trade_channels):
            if key.channel in protocol.trade_channels:
                for run in runs:
                    part = self._update(feed, run.trades, now_us)
                    self._send(key, feed, changed_frames(protocol.frames(key, part), run.change), now_s)
            else:
                self._send(key, feed, protocol.frames(key, update), now_s)

    def _send(self, key: Key, feed: _Feed, frames: list[Frame], now_s: float) -> None:
        if not frames:
            return
        data = [text_frame(frame.payload) for frame in frames]
        trades = [trade for frame in frames for trade in frame.trades]
        for connection in feed.keys[key]:
            connection.sent_s = now_s
            connection.send_frames(data, key.symbol if trades else "", trades)

    def _update(self, feed: _Feed, trades: list[Trade], now_us: int) -> Update:
        instrument, skew_us, clock = feed.instrument, self._skew_us(feed.instrument.venue), self._book.clock
        return Update(
            instrument=instrument,
            trades=trades,
            last_s=feed.last_s,
            now_s=now_us // 1_000_000,
            now_us=self._clock.now_ms() * 1_000 + skew_us,
            stamp=lambda market_us: clock.wall_us(market_us) + skew_us,
            day=lambda: self._day(instrument),
        )

    def _day(self, instrument: Instrument) -> tuple[float, float, float, float]:
        now_ms, place = self._clock.now_ms(), (instrument.venue, instrument.symbol)
        slot, values = self._days.get(place, (0, None))
        if values is None or slot != now_ms // (_DAY_CACHE_S * 1_000):
            span = self._market.last_24h(VENUES[instrument.venue].price_view, instrument.coin, now_ms)
            values = (span.open, span.high, span.low, span.coins)
            self._days[place] = (now_ms // (_DAY_CACHE_S * 1_000), values)
        return values

    # faults

    def fault_added(self, fault: ActiveFault, duration_s: float | None) -> None:
        """Do what a new fault does at once."""
        venues = [venue for venue in PROTOCOLS if fault.provider in (venue, "*")]
        affected = [connection for connection in self._connections if connection.venue in venues]
        match fault.parameters:
            case TradeRate() as rate:
                self._book.set_rate(self._book.chosen(fault.provider, rate.symbols), rate.per_s, self._clock.now_ms(), for_s=duration_s)
            case TradeIdJump() as jump:
                self._book.set_rate(self._book.chosen(fault.provider, jump.symbols), None, self._clock.now_ms(), skipped_ids=jump.by)
            case StreamHalfOpen():
                for connection in affected:
                    connection.muted = True
            case StreamClose() as close:
                for connection in affected:
                    connection.close(close.code, close.reason)
            case StreamShutdown() as shutdown:
                self._end_after(affected, shutdown.announce_s, None)
            case StreamMaintenance() as maintenance:
                begin_s = self._clock.monotonic_s() + maintenance.announce_s
                self._down_s |= dict.fromkeys(venues, (begin_s, begin_s + maintenance.down_s))
                self._end_after(affected, maintenance.announce_s, maintenance.down_s)
            case _:
                return

    def fault_ended(self, fault: ActiveFault) -> None:
        """A fault was deleted: the trades continue at their usual rate."""
        if isinstance(fault.parameters, TradeRate):
            self._book.set_rate(self._book.chosen(fault.provider, fault.parameters.symbols), None, self._clock.now_ms())

    def _end_after(self, affected: list[Connection], announce_s: float, down_s: float | None) -> None:
        start_us = None if down_s is None else self._clock.now_ms() * 1_000 + round(announce_s * 1_000_000)
        end_us = None if start_us is None or down_s is None else start_us + round(down_s * 1_000_000)
        for connection in affected:
            PROTOCOLS[connection.venue].announce(connection, self, start_us, end_us)

        def end() -> None:
            for connection in list(self._connections):
                # a maintenance also ends connections that were opened after its announcement
                if connection in affected or (down_s is not None and connection.venue in {each.venue for each in affected}):
                    if down_s is not None:
                        PROTOCOLS[connection.venue].announce(connection, self, None, None)
                    connection.close(1001, "Going away")

        self._later.append((self._clock.monotonic_s() + announce_s, end))

    def _meets(self, venue: str, kind: type[StreamRefused | StreamSilent]) -> Callable[[str], bool]:
        found = [fault.parameters for fault in self._faults.peek(venue, self._clock.monotonic_s()) if isinstance(fault.parameters, kind)]
        return lambda symbol: any(not each.symbols or symbol in each.symbols for each in found)

    def _skew_us(self, venue: str) -> int:
        skew = latest(self._faults.peek(venue, self._clock.monotonic_s()), ClockSkew)
        return 0 if skew is None else round(skew.seconds * 1_000_000)
