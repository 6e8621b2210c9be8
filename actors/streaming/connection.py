"""One connection to a venue: opens it, subscribes, passes on what arrives, and ends it when it is dead."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from typing import Protocol

from actors.streaming.frame_recorder import FrameRecorder
from actors.streaming.socket import OpenSocket, Socket, SocketClosed
from cryptoviz.clock import Clock
from cryptoviz.errors import FrameError
from cryptoviz.log import get_logger
from cryptoviz.venues.base import StreamSession, StreamVenue
from cryptoviz.venues.events import Acked, Announced, Announcement, Heartbeat, Quote, Refused, Trades
from cryptoviz.venues.spec import Channel, Instrument

__all__ = ["Connection", "Listener"]

ACK_S = 15.0
"""A symbol that is not acknowledged within this time is an error, not a quiet market."""
_BAD_FRAMES = 20
"""Frames in a row that are not as documented, after which the connection is given up."""

log = get_logger("stream")


class Listener(Protocol):
    """Receives what connections bring; called from the event loop."""

    def trades(self, event: Trades) -> None:
        """Trades of a frame."""

    def quote(self, event: Quote) -> None:
        """A best bid and ask. It proves nothing about trades."""

    def heartbeat(self, event: Heartbeat) -> None:
        """The venue says that the connection lives, perhaps with the number of a symbol's last trade."""

    def acked(self, event: Acked) -> None:
        """The venue accepted the subscription of a symbol to a channel."""

    def refused(self, event: Refused) -> None:
        """The venue refuses a symbol, for a channel or as a whole."""

    def bad_frame(self, error: FrameError) -> None:
        """A frame is not as documented; its trades become a gap."""

    def ended(self, connection: Connection) -> None:
        """The connection has ended."""


class ConnectionState(StrEnum):
    """Where a connection is in its life."""

    OPENING = "opening"
    SUBSCRIBING = "subscribing"
    READY = "ready"
    ENDED = "ended"


class Connection:
    """One connection for some instruments. `start`, then wait for `ready` or `over`; `close` ends it."""

    def __init__(
        self,
        venue: StreamVenue,
        instruments: Sequence[Instrument],
        url: str,
        open_socket: OpenSocket,
        listener: Listener,
        clock: Clock,
        now_us: Callable[[], int],
        open_timeout_s: float,
        channels: Collection[Channel] = (Channel.TRADES,),
        recorder: FrameRecorder | None = None,
    ) -> None:
        """`channels`: requested, and acknowledged each. It is ready when the trades are. `recorder`: of the frames as they arrive."""
        self.id = uuid.uuid4().hex[:12]
        self.state = ConnectionState.OPENING
        self.failure = ""
        """Why it ended; empty while it lives and after `close`."""
        self.data_s: float | None = None
        """Monotonic time of the last trade."""
        self.opened_s = clock.monotonic_s()
        self.ready = asyncio.Event()
        self.over = asyncio.Event()
        self.leave = asyncio.Event()
        """The venue announced that it will end the connection: a successor is needed."""
        self.unacked: tuple[str, ...] = ()
        """Symbols that were not acknowledged in time, with the channel if it is not that of trades."""
        self._venue = venue
        self._session: StreamSession = venue.session(instruments, channels, self.id)
        self._frames = recorder.of(self.id, self._session.instruments) if recorder is not None else None
        self._url = url
        self._open_socket = open_socket
        self._listener = listener
        self._clock = clock
        self._now_us = now_us
        self._open_timeout_s = open_timeout_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"connection {self.id}")

    async def close(self) -> None:
        """End it; what has arrived was passed on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        limits = self._venue.spec.limits
        try:
            socket = await self._open_socket(self._venue.url(self._url), self._open_timeout_s, limits.frame_bytes)
        except SocketClosed as error:
            self._end(error.message)
            return
        try:
            self.state = ConnectionState.SUBSCRIBING
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._subscribe(socket))
                tasks.create_task(self._watch_acks(socket))
                tasks.create_task(self._read(socket))
                tasks.create_task(self._watch_alive(socket))
                if limits.ping_s is not None:
                    tasks.create_task(self._ping(socket, limits.ping_s))
        except* SocketClosed as errors:
            self.failure = str(errors.exceptions[0])
        except* Exception as errors:
            log.exception("connection_bug", venue=self._venue.spec.name)
            self.failure = repr(errors.exceptions[0])
        finally:
            await asyncio.shield(_closed(socket))
            self._end(self.failure)

    def _end(self, failure: str) -> None:
        self.state, self.failure = ConnectionState.ENDED, failure
        self.over.set()
        if self._frames is not None:
            self._frames.close()
        self._listener.ended(self)

    async def _subscribe(self, socket: Socket) -> None:
        pause_s = 1.0 / self._venue.spec.limits.messages_per_s
        for number, text in enumerate(self._session.subscribe()):
            if number:
                await self._clock.sleep(pause_s)
            await socket.send(text)

    async def _watch_acks(self, socket: Socket) -> None:
        """Ask again for symbols that are not acknowledged, because a venue may refuse a request for one of its symbols; then show them."""
        await self._clock.sleep(ACK_S / 3)
        for text in self._session.subscribe() if self._session.unacked else ():
            await socket.send(text)
            await self._clock.sleep(1.0 / self._venue.spec.limits.messages_per_s)
        await self._clock.sleep(ACK_S * 2 / 3)
        self.unacked = tuple(sorted(symbol if channel == Channel.TRADES else f"{symbol} {channel}" for symbol, channel in self._session.unacked))
        if self.unacked:
            log.warning("not_acknowledged", venue=self._venue.spec.name, symbols=",".join(self.unacked[:20]))
            self.ready.set()

    async def _ping(self, socket: Socket, every_s: float) -> None:
        while True:
            await self._clock.sleep(every_s)
            text = self._session.ping()
            if text is not None:
                await socket.send(text)

    async def _watch_alive(self, socket: Socket) -> None:
        """End a connection of which nothing arrives. One timer: one for each frame takes longer than reading the frame."""
        alive_s = self._venue.spec.limits.alive_s
        while (quiet_s := self._clock.monotonic_s() - socket.heard_s) < alive_s:
            await self._clock.sleep(alive_s - quiet_s)
        raise SocketClosed(f"nothing arrived for {alive_s:g} s, not even a heartbeat")

    async def _read(self, socket: Socket) -> None:
        bad = 0
        while True:
            frame, now_us = await socket.receive(), self._now_us()
            if self._frames is not None:
                self._frames.add(frame, now_us)
            try:
                events = self._session.parse(frame, now_us)
            except FrameError as error:
                self._listener.bad_frame(error)
                if error.reason == "quote":  # a venue whose book is odd still sends trades
                    continue
                bad += 1
                if bad >= _BAD_FRAMES:
                    raise SocketClosed(f"{bad} frames in a row are not as documented: {error.message}") from None
                continue
            bad = 0
            for event in events:
                if isinstance(event, Trades):
                    self.data_s = self._clock.monotonic_s()
                    self._listener.trades(event)
                else:
                    self._other(event)

    def _other(self, event: object) -> None:
        if isinstance(event, Quote):
            self._listener.quote(event)
        elif isinstance(event, Heartbeat):
            self._listener.heartbeat(event)
        elif isinstance(event, Acked):
            self._listener.acked(event)
            self._check_ready()
        elif isinstance(event, Refused):
            self._listener.refused(event)
            self._check_ready()
        elif isinstance(event, Announced):
            log.info("venue_announces", venue=self._venue.spec.name, kind=str(event.kind), text=event.text[:200])
            if event.kind is Announcement.SHUTDOWN:
                self.leave.set()

    def _check_ready(self) -> None:
        waits = any(channel == Channel.TRADES for _, channel in self._session.unacked)
        if not waits and self.state is ConnectionState.SUBSCRIBING:
            self.state = ConnectionState.READY
            self.ready.set()


async def _closed(socket: Socket) -> None:
    with contextlib.suppress(SocketClosed, OSError):
        await socket.close()
