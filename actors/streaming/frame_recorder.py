"""Records the frames that connections receive, as they are. Trades never wait for it: what cannot be recorded is counted. No input or output."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from cryptoviz.clock import Clock
from cryptoviz.settings.streams import RawFrames
from cryptoviz.venues.frames import FrameBatch, frames_key

__all__ = ["BATCH_BYTES", "FLUSH_S", "ConnectionFrames", "FrameRecorder", "FrameSink"]

FLUSH_S = 2.0
"""Longest time that a frame waits for its batch. Frames that wait are lost with the process; then their trades count as unrecorded."""
BATCH_BYTES = 256 * 1024
"""Of a batch, and so of each connection in memory: larger ones compress no better."""
_MINUTE_US = 60_000_000


class FrameSink(Protocol):
    """Where batches go."""

    recorded: int
    """Frames that are written."""
    lost: int
    """Frames that were to be recorded and are not."""

    def put(self, key: bytes, value: bytes, at_ms: int, frames: int) -> None:
        """Take a batch of `frames` frames, the first of which arrived `at_ms` (UTC epoch ms), or count them as lost. Never waits."""

    def poll(self) -> None:
        """Count what was written."""

    def close(self, timeout_s: float) -> None:
        """Write what waits. Blocking."""


class FrameRecorder:
    """The frames of an actor's connections. `sample_min`: with `sample`, one minute out of so many."""

    def __init__(self, venue: str, mode: RawFrames, sample_min: int, sink: FrameSink) -> None:
        self._venue = venue
        self._sample_min = sample_min if mode is RawFrames.SAMPLE else 1
        self._sink = sink
        self._connections: dict[str, ConnectionFrames] = {}

    def of(self, connection: str, symbols: Iterable[str]) -> ConnectionFrames:
        """What records the frames of a new connection."""
        ended = partial(self._connections.pop, connection, None)
        found = ConnectionFrames(self._venue, connection, tuple(symbols), self._sample_min, self._sink, ended)
        self._connections[connection] = found
        return found

    async def run(self, clock: Clock) -> None:
        """Hand over what waits every `FLUSH_S`, until cancelled."""
        while True:
            await clock.sleep(FLUSH_S)
            for one in self._connections.values():
                one.flush()
            self._sink.poll()

    def close(self, timeout_s: float) -> None:
        """After the connections have ended: write what waits. Blocking."""
        self._sink.close(timeout_s)

    def metrics(self) -> dict[str, float]:
        return {"raw_frames_total": float(self._sink.recorded), "raw_frames_lost_total": float(self._sink.lost)}


class ConnectionFrames:
    """The frames of one connection."""

    def __init__(self, venue: str, connection: str, symbols: tuple[str, ...], sample_min: int, sink: FrameSink, ended: Callable[[], object]) -> None:
        """`ended` is called by `close`."""
        self._venue = venue
        self._connection = connection
        self._symbols = symbols
        self._key = frames_key(venue, connection)
        self._sample_min = sample_min
        self._sink = sink
        self._ended = ended
        self._frames: list[tuple[int, bytes]] = []
        self._size = 0
        self._count = 0
        self._began_us: int | None = None
        self._recorded = True
        self._until_us = 0

    def add(self, frame: bytes | str, at_us: int) -> None:
        """A frame that arrived `at_us` (UTC epoch us), before it is parsed."""
        if at_us >= self._until_us or at_us < self._until_us - _MINUTE_US:
            self._begin_minute(at_us)
        if not self._recorded:
            self._count += 1
            return
        content = frame.encode() if isinstance(frame, str) else frame
        if len(content) >= BATCH_BYTES:
            self.flush()  # Kafka may refuse its batch for its size
        self._count += 1
        self._frames.append((at_us, content))
        self._size += len(content)
        if self._size >= BATCH_BYTES:
            self.flush()

    def _begin_minute(self, at_us: int) -> None:
        """Decide for a whole UTC minute. Always recorded: the minute in which a connection begins, with its acknowledgements, and the next one."""
        minute = at_us // _MINUTE_US
        if self._began_us is None:
            self._began_us = at_us
        self._until_us = (minute + 1) * _MINUTE_US
        self._recorded = minute % self._sample_min == 0 or at_us < self._began_us + _MINUTE_US
        if not self._recorded:
            self.flush()

    def flush(self) -> None:
        """Hand over what waits."""
        frames = self._frames
        if not frames:
            return
        self._frames, self._size = [], 0
        batch = FrameBatch(self._venue, self._connection, self._symbols, self._count - len(frames), frames)
        self._sink.put(self._key, batch.encode(), frames[0][0] // 1_000, len(frames))

    def close(self) -> None:
        """The connection has ended."""
        self.flush()
        self._ended()
