"""Keeps some instruments connected: a new connection before the old one ends, back-off after a failure, none while Kafka does not keep up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from actors.streaming.connection import Connection
from cryptoviz.clock import Clock
from cryptoviz.log import get_logger
from cryptoviz.venues.spec import Instrument, StreamLimits

__all__ = ["Lane", "LaneRules"]

OVERLAP_S = 2.0
"""Time for which both connections are read after the new one was acknowledged: what was on its way on the old one still arrives."""
_READY_S = 30.0
_STEADY_S = 60.0
"""After this time a connection counts as good: the next failure is retried at once."""
_MOST_SILENT_S = 3_600.0
_POLL_S = 0.5
_FIRST_WAIT_S = 0.25

log = get_logger("stream")


@dataclass(frozen=True, slots=True)
class LaneRules:
    """`silent_s`: after this time without a trade the connection is replaced, whatever its heartbeats say. `max_back_off_s`: between attempts."""

    limits: StreamLimits
    silent_s: float
    max_back_off_s: float


class Lane:
    """One connection at a time for its instruments, two while they overlap."""

    def __init__(
        self,
        instruments: Sequence[Instrument],
        connect: Callable[[Sequence[Instrument]], Connection],
        gate: asyncio.Event,
        rules: LaneRules,
        clock: Clock,
    ) -> None:
        """`connect` makes a connection that is not started. `gate`: connections are allowed while it is set."""
        self.instruments = tuple(instruments)
        self.current: Connection | None = None
        self.reconnects = 0
        self.last_failure = ""
        self._connect = connect
        self._gate = gate
        self._rules = rules
        self._clock = clock
        self._failures = 0
        self._silent_s = rules.silent_s
        self._connects: list[float] = []

    @property
    def connected(self) -> bool:
        return self.current is not None and self.current.ready.is_set() and not self.current.over.is_set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self._gate.wait()
                await self._pace()
                self.current = self._started()
                await self._until_over()
                await self._clock.sleep(self._back_off_s())
        finally:
            await self._close(self.current)

    async def _until_over(self) -> None:
        """Watch the connection, and replace it without a hole where that is possible. Returns when there is none any more."""
        while self.current is not None:
            current = self.current
            if current.over.is_set():
                self._note(current)
                self.current = None
            elif not self._gate.is_set():
                log.warning("connection_closed_because_kafka_does_not_keep_up", symbols=len(self.instruments))
                self.current = None
                await self._close(current)
                self._failures = 0
            elif (why := self._due(current)) and await self._replace(current, why):
                continue
            else:
                await self._wait(current.over, _POLL_S)

    def _due(self, current: Connection) -> str:
        """Why the connection needs a successor; empty if it does not."""
        now, limits = self._clock.monotonic_s(), self._rules.limits
        if current.leave.is_set():
            return "the venue announced its end"
        if limits.lifetime_s is not None and now - current.opened_s >= limits.lifetime_s - limits.overlap_s:
            return "its lifetime ends"
        if now - (current.data_s or current.opened_s) >= self._silent_s:
            return f"no trade for {self._silent_s:.0f} s"
        if current.data_s is not None:
            self._silent_s = self._rules.silent_s
        return ""

    async def _replace(self, old: Connection, why: str) -> bool:
        log.info("connection_replaced", reason=why, connection=old.id)
        if why.startswith("no trade"):
            self._silent_s = min(_MOST_SILENT_S, self._silent_s * 2)  # a quiet market: look less often
        await self._pace()
        successor = self._started()
        try:
            await self._wait(successor.ready, _READY_S, successor.over)
            good = successor.ready.is_set() and not successor.over.is_set()
            await self._wait(old.over, OVERLAP_S if good else 0.0)
        except asyncio.CancelledError:
            await self._close(successor)
            raise
        if not good:
            self.last_failure = successor.failure or f"its successor was not acknowledged within {_READY_S:.0f} s"
            await self._close(successor)
            await self._wait(old.over, self._back_off_s())
            return False
        self.current = successor
        await self._close(old)
        self.reconnects += 1
        return True

    def _started(self) -> Connection:
        connection = self._connect(self.instruments)
        connection.start()
        return connection

    def _note(self, ended: Connection) -> None:
        self.last_failure = ended.failure
        self.reconnects += 1
        if self._clock.monotonic_s() - ended.opened_s >= _STEADY_S:
            self._failures = 0
        log.warning("connection_lost", connection=ended.id, reason=ended.failure)

    def _back_off_s(self) -> float:
        wait_s = min(self._rules.max_back_off_s, _FIRST_WAIT_S * 2.0**self._failures)
        self._failures = min(self._failures + 1, 20)
        return wait_s

    async def _pace(self) -> None:
        """Keep to the venue's limit of new connections."""
        limits = self._rules.limits
        now = self._clock.monotonic_s()
        self._connects = [at for at in self._connects if now - at < limits.connects_per_s]
        if len(self._connects) >= limits.connects:
            await self._clock.sleep(self._connects[0] + limits.connects_per_s - now)
        self._connects.append(self._clock.monotonic_s())

    async def _wait(self, first: asyncio.Event, timeout_s: float, second: asyncio.Event | None = None) -> None:
        """Until an event is set or the time is over."""
        waits = [asyncio.ensure_future(event.wait()) for event in (first, second) if event is not None]
        timer = asyncio.ensure_future(self._clock.sleep(timeout_s))
        try:
            await asyncio.wait([*waits, timer], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*waits, timer):
                task.cancel()

    async def _close(self, connection: Connection | None) -> None:
        if connection is not None:
            await connection.close()
