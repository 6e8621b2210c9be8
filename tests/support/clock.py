"""The time in tests: a clock that a test moves, and the real one."""

from __future__ import annotations

import asyncio

from cryptoviz.clock import SystemClock

T0 = 1_700_000_000_000 - 1_700_000_000_000 % 60_000


class FakeClock:
    """Advances only by `sleep`, `advance` and by setting `ms`. `step` changes the wall clock only. `slept`: the requested sleeps."""

    def __init__(self, now_ms: int = T0) -> None:
        self.ms = float(now_ms)
        self.set_by_ms = 0
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return round(self.ms) + self.set_by_ms

    def monotonic_s(self) -> float:
        return self.ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(max(0.0, seconds))
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self.ms += seconds * 1000

    def step(self, seconds: float) -> None:
        self.set_by_ms += round(seconds * 1000)


def now_ms() -> int:
    return SystemClock().now_ms()
