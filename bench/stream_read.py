"""Trades of frames through a connection and the core of a stream's actor, for `bench.stream_parse`, `bench.raw_frames` and `bench.stream_sockets`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from actors.publishing.transaction import KafkaTransaction
from actors.streaming.connection import Connection
from actors.streaming.core import TRANSACTION_TRADES, StreamCore
from actors.streaming.frame_recorder import FrameRecorder
from actors.streaming.socket import OpenSocket, Socket, SocketClosed
from cryptoviz.clock import SystemClock
from cryptoviz.errors import FrameError
from cryptoviz.venues.base import StreamVenue
from cryptoviz.venues.events import Acked, Heartbeat, Quote, Refused, Trades
from cryptoviz.venues.spec import Instrument

__all__ = ["read_all", "read_socket"]


class _Frames:
    """`Socket` that has received them."""

    def __init__(self, frames: Sequence[str]) -> None:
        self._rest = iter(frames)
        self.heard_s = time.monotonic()

    async def send(self, text: str) -> None:
        """The subscription."""

    async def receive(self) -> str:
        if (frame := next(self._rest, None)) is None:
            raise SocketClosed("all frames are read")
        return frame

    async def close(self) -> None:
        """Nothing to close."""


class _Core:
    """`Listener`, as the actor."""

    def __init__(self, core: StreamCore, together: int, publish: Callable[[KafkaTransaction], object]) -> None:
        self._core = core
        self._together = together
        self._publish = publish

    def trades(self, event: Trades) -> None:
        self._core.streamed(event)
        if self._core.pending >= self._together:
            self.flush()

    def flush(self) -> None:
        if (transaction := self._core.take_transaction()) is not None:
            self._publish(transaction)

    def quote(self, event: Quote) -> None:
        """None is asked for."""

    def heartbeat(self, event: Heartbeat) -> None:
        """None is sent."""

    def acked(self, event: Acked) -> None:
        """None is sent."""

    def refused(self, event: Refused) -> None:
        """None is sent."""

    def bad_frame(self, error: FrameError) -> None:
        raise error

    def ended(self, connection: Connection) -> None:
        """Seen by `over`."""


def read_all(
    venue: StreamVenue,
    instruments: Sequence[Instrument],
    frames: Sequence[str],
    now_us: Callable[[], int],
    recorder: FrameRecorder | None = None,
    together: int = TRANSACTION_TRADES,
    publish: Callable[[KafkaTransaction], object] = id,
) -> int:
    """Read the frames, prove their trades complete, and encode transactions; `recorder` records the frames. Returns the number of trades."""

    async def given(*_: object) -> Socket:
        return _Frames(frames)

    return read_socket(venue, instruments, "", given, now_us, recorder, together, publish)


def read_socket(
    venue: StreamVenue,
    instruments: Sequence[Instrument],
    url: str,
    open_socket: OpenSocket,
    now_us: Callable[[], int],
    recorder: FrameRecorder | None = None,
    together: int = TRANSACTION_TRADES,
    publish: Callable[[KafkaTransaction], object] = id,
) -> int:
    """As `read_all`, of the frames that a connection to this address brings until the other side closes it.

    `publish` gets each transaction, of `together` trades.
    """
    core = StreamCore(venue.spec, instruments, SystemClock(), now_us)
    listener = _Core(core, together, publish)

    async def read() -> None:
        connection = Connection(venue, instruments, url, open_socket, listener, SystemClock(), now_us, 20.0, recorder=recorder)
        connection.start()
        await connection.over.wait()

    asyncio.run(read())
    listener.flush()
    return core.stats.trades
