"""A connection with quotes: acknowledged for each channel, and alive by its trades only."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from actors.streaming import connection as module
from actors.streaming.connection import Connection
from actors.streaming.frame_recorder import FrameRecorder
from actors.streaming.socket import Socket, SocketClosed
from cryptoviz.errors import FrameError
from cryptoviz.settings.streams import RawFrames
from cryptoviz.venues.events import Acked, Heartbeat, Quote, Refused, Trades
from cryptoviz.venues.registry import venue_of
from cryptoviz.venues.spec import Channel, Instrument
from tests.support.clock import FakeClock
from tests.support.waiting import eventually_async
from tests.unit.actors.streaming.test_frame_recorder import Sink

TRADE = '{"e":"trade","E":1,"s":"BTCUSDT","t":5,"p":"64000.1","q":"1","T":1764000000000000,"m":true,"M":true}'
BOOK = '{"u":1,"s":"BTCUSDT","b":"64000.1","B":"1","a":"64000.2","A":"2"}'
CROSSED = BOOK.replace('"b":"64000.1"', '"b":"64000.3"')
ACKS = ('{"result":null,"id":1}', '{"result":null,"id":2}')


@dataclass
class FakeSocket:
    """Delivers frames; `put` adds one."""

    sent: list[str] = field(default_factory=list)
    frames: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    heard_s: float = 0.0

    async def send(self, text: str) -> None:
        self.sent.append(text)

    async def receive(self) -> str:
        frame = await self.frames.get()
        if frame == "closed":
            raise SocketClosed("closed")
        return frame

    async def close(self) -> None:
        """Nothing to say."""

    def put(self, *frames: str) -> None:
        for frame in frames:
            self.frames.put_nowait(frame)


@dataclass
class Seen:
    """`Listener` that keeps all."""

    events: list[object] = field(default_factory=list)
    bad: list[FrameError] = field(default_factory=list)

    def trades(self, event: Trades) -> None:
        self.events.append(event)

    def quote(self, event: Quote) -> None:
        self.events.append(event)

    def heartbeat(self, event: Heartbeat) -> None:
        self.events.append(event)

    def acked(self, event: Acked) -> None:
        self.events.append(event)

    def refused(self, event: Refused) -> None:
        self.events.append(event)

    def bad_frame(self, error: FrameError) -> None:
        self.bad.append(error)

    def ended(self, connection: Connection) -> None:
        """Seen by `over`."""


class WatchClock(FakeClock):
    """The watch for acknowledgements, the only one that sleeps longer than a second, waits for `late`."""

    def __init__(self) -> None:
        super().__init__(7_000)
        self.late = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        if seconds > 1:
            await self.late.wait()
        await asyncio.sleep(0)


def opened(
    socket: FakeSocket,
    seen: Seen,
    channels: Sequence[Channel] = (Channel.TRADES, Channel.QUOTES),
    clock: FakeClock | None = None,
    recorder: FrameRecorder | None = None,
) -> Connection:
    async def open_socket(url: str, timeout_s: float, frame_bytes: int) -> Socket:
        return socket

    instruments = [Instrument("BTCUSDT", "bitcoin", "USDT")]
    connection = Connection(venue_of("binance"), instruments, "", open_socket, seen, clock or WatchClock(), lambda: 1, 1.0, channels, recorder)
    connection.start()
    return connection


async def until(seen: Seen, count: int) -> None:
    async def enough() -> bool:
        return len(seen.events) + len(seen.bad) >= count

    await eventually_async(enough, every_s=0.001)


async def test_it_asks_for_both_channels_and_is_ready_when_the_trades_are_acknowledged() -> None:
    socket, seen = FakeSocket(), Seen()
    connection = opened(socket, seen)
    socket.put(ACKS[0])
    await until(seen, 1)
    assert [text.split('"params":')[1].split("]")[0] for text in socket.sent] == ['["btcusdt@trade"', '["btcusdt@bookTicker"']
    assert connection.ready.is_set()
    assert seen.events == [Acked("BTCUSDT", Channel.TRADES)]
    socket.put(ACKS[1])
    await until(seen, 2)
    assert seen.events[1] == Acked("BTCUSDT", Channel.QUOTES)
    await connection.close()


async def test_an_acknowledgement_of_quotes_alone_does_not_make_it_ready() -> None:
    socket, seen = FakeSocket(), Seen()
    connection = opened(socket, seen)
    socket.put(ACKS[1])
    await until(seen, 1)
    assert not connection.ready.is_set()
    await connection.close()


async def test_without_quotes_only_trades_are_requested() -> None:
    socket, seen = FakeSocket(), Seen()
    connection = opened(socket, seen, (Channel.TRADES,))
    socket.put(ACKS[0])
    await until(seen, 1)
    assert len(socket.sent) == 1
    await connection.close()


async def test_quotes_do_not_count_as_trades() -> None:
    socket, seen = FakeSocket(), Seen()
    connection = opened(socket, seen)
    socket.put(*ACKS, *[BOOK] * 3)
    await until(seen, 5)
    assert [type(event) for event in seen.events[2:]] == [Quote] * 3
    assert connection.data_s is None
    socket.put(TRADE)
    await until(seen, 6)
    assert connection.data_s == 7.0
    await connection.close()


@pytest.mark.parametrize("bad", [CROSSED, BOOK.replace('"64000.1"', "null"), BOOK.replace('"a"', '"ask"')], ids=["crossed", "null", "renamed"])
async def test_bad_quotes_are_reported_and_do_not_end_a_connection_that_bad_frames_would_end(bad: str) -> None:
    socket, seen = FakeSocket(), Seen()
    connection = opened(socket, seen)
    socket.put(*ACKS, *[bad] * (3 * module._BAD_FRAMES), TRADE)
    await until(seen, 3 + 3 * module._BAD_FRAMES)
    assert {error.reason for error in seen.bad} == {"quote"}
    if bad == CROSSED:
        assert "bid '64000.3' x '1', ask '64000.2' x '2'; valid is a bid that is not above the ask" in seen.bad[0].message
    assert isinstance(seen.events[-1], Trades)
    assert not connection.over.is_set()
    socket.put(*["{"] * module._BAD_FRAMES)
    await asyncio.wait_for(connection.over.wait(), 5)
    assert "frames in a row are not as documented" in connection.failure


async def test_a_connection_ends_when_nothing_arrives_and_not_before() -> None:
    socket, seen, clock = FakeSocket(), Seen(), WatchClock()
    connection = opened(socket, seen, clock=clock)
    socket.put(*ACKS)
    await until(seen, 2)
    clock.advance(60)
    socket.heard_s = clock.monotonic_s() - 59.9  # a ping of the venue, which is no message
    clock.late.set()
    socket.put(TRADE)
    await until(seen, 3)
    assert not connection.over.is_set()
    clock.advance(1)
    await asyncio.wait_for(connection.over.wait(), 5)
    assert connection.failure == "nothing arrived for 60 s, not even a heartbeat"


async def test_quotes_that_are_not_acknowledged_are_asked_for_again_and_then_named() -> None:
    socket, seen, clock = FakeSocket(), Seen(), WatchClock()
    connection = opened(socket, seen, clock=clock)
    socket.put(ACKS[0])
    await until(seen, 1)
    clock.late.set()

    async def named() -> bool:
        return bool(connection.unacked)

    await eventually_async(named, every_s=0.001)
    assert connection.unacked == ("BTCUSDT quotes",)
    assert len(socket.sent) == 3
    assert "bookTicker" in socket.sent[2]
    await connection.close()


async def test_each_frame_is_recorded_before_it_is_parsed_also_one_that_is_not_as_documented() -> None:
    socket, seen, sink = FakeSocket(), Seen(), Sink()
    connection = opened(socket, seen, recorder=FrameRecorder("binance", RawFrames.ALL, 15, sink))
    socket.put(*ACKS, "{", TRADE, "closed")
    await asyncio.wait_for(connection.over.wait(), 5)
    (batch,) = sink.batches
    assert (batch.connection, batch.symbols, batch.first) == (connection.id, ("BTCUSDT",), 0)
    assert batch.frames == [(1, frame.encode()) for frame in (*ACKS, "{", TRADE)]
    assert len(seen.bad) == 1
    assert isinstance(seen.events[-1], Trades)
