"""The scraper's work apart from Ray: one poll on each tick, never two at once, with the waits that the provider imposes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from actors.providers.base import PollFailure
from actors.providers.limiter import HoldOff
from cryptoviz.assets import Asset
from cryptoviz.clock import Clock, tick_of
from cryptoviz.log import get_logger
from cryptoviz.records import FallbackReason, TickResult

__all__ = ["FRESH_TICKS", "PollLoop", "PollRules", "PollStats", "Pollable"]

BUDGET_SHARE = 0.85
"""Share of a tick that its poll may take with its retry: less than the collector's deadline of 0.9."""
CATCH_UP_SHARE = 0.5
"""A loop that starts in the first half of a tick still polls for it; later the collector might have closed it."""
FRESH_TICKS = 3
"""Data older than this many ticks is not fresh (DESIGN 7)."""
_HELD_REASONS = (FallbackReason.RATE_LIMITED, FallbackReason.QUOTA, FallbackReason.AUTH)
"""After these the provider is left alone for a while: asking again costs quota and may lengthen a ban."""


class Pollable(Protocol):
    """What the loop needs of a provider."""

    name: ClassVar[str]
    last_failure: PollFailure | None

    async def poll(self, tick_ts: int, assets: Sequence[Asset], budget_s: float) -> TickResult:
        """One tick's result; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class PollRules:
    """Times of the loop. `default_wait_s` is for refusals that name no wait, `max_wait_s` bounds all of them."""

    tick_ms: int
    default_wait_s: float
    max_wait_s: float


@dataclass(slots=True)
class PollStats:
    """What the probe tells. Times are UTC epoch ms."""

    polls_total: int = 0
    failures_total: int = 0
    consecutive_failures: int = 0
    missed_ticks_total: int = 0
    held_ticks_total: int = 0
    latency_ms: float = 0.0
    started_ms: int = 0
    last_poll_ms: int | None = None
    last_good_poll_ms: int | None = None
    message: str = ""


class PollLoop:
    """Polls `provider` on each tick and hands the result to `deliver`, which must not block."""

    def __init__(
        self, provider: Pollable, assets: Sequence[Asset], rules: PollRules, hold_off: HoldOff, clock: Clock, deliver: Callable[[TickResult], None]
    ) -> None:
        self._provider = provider
        self._assets = assets
        self._rules = rules
        self._hold_off = hold_off
        self._clock = clock
        self._deliver = deliver
        self._log = get_logger(f"scraper/{provider.name}")
        self.stats = PollStats()

    async def run(self) -> None:
        """Poll until cancelled."""
        interval = self._rules.tick_ms
        now = self.stats.started_ms = self._clock.now_ms()
        tick_ts = tick_of(now, interval)
        if now - tick_ts > CATCH_UP_SHARE * interval:
            tick_ts += interval
        while True:
            await self._sleep_until(tick_ts)
            await self.poll_once(tick_ts)
            following = max(tick_ts + interval, tick_of(self._clock.now_ms(), interval))
            self.stats.missed_ticks_total += (following - tick_ts) // interval - 1
            tick_ts = following

    async def poll_once(self, tick_ts: int) -> TickResult:
        """One tick: a poll, or the reason for not asking."""
        now = self._clock.now_ms()
        held = self._hold_off.active(now)
        if held is not None:
            result = self._held_result(tick_ts, *held)
        else:
            # A loop that is late in the tick has less time left for it.
            budget_s = (BUDGET_SHARE * self._rules.tick_ms - max(0, now - tick_ts)) / 1000
            result = await self._provider.poll(tick_ts, self._assets, max(0.05, budget_s))
            self._count(result, now)
        self._tell(result)
        self._deliver(result)
        return result

    def healthy(self, now_ms: int) -> bool:
        """A good poll within three ticks, or a start that is not older."""
        since = self.stats.last_good_poll_ms or self.stats.started_ms
        return now_ms - since <= FRESH_TICKS * self._rules.tick_ms

    def _held_result(self, tick_ts: int, reason: FallbackReason, left_s: float) -> TickResult:
        self.stats.held_ticks_total += 1
        text = f"{self._provider.name} asked to wait ({reason.value}); next call in {left_s:.0f} s"
        return TickResult(self._provider.name, tick_ts, "", 1, self._clock.now_ms(), failure=reason, message=text)

    def _count(self, result: TickResult, started_ms: int) -> None:
        stats, now = self.stats, self._clock.now_ms()
        stats.polls_total += 1
        stats.last_poll_ms, stats.latency_ms = now, float(now - started_ms)
        failed = self._provider.last_failure
        if result.failure in _HELD_REASONS:
            asked = failed.retry_after_s if failed is not None else None
            wait_s = min(self._rules.default_wait_s if asked is None else asked, self._rules.max_wait_s)
            self._hold_off.impose(result.failure, wait_s, now)
            self._log.warning("provider_asks_to_wait", provider=result.provider, reason=result.failure.value, wait_s=wait_s)
        if result.failure is None and result.observations:
            stats.last_good_poll_ms = now

    def _tell(self, result: TickResult) -> None:
        """Logs the first failure of a row and the recovery, not each tick."""
        stats = self.stats
        good = result.failure is None and bool(result.observations)
        if good:
            if stats.consecutive_failures:
                self._log.info("provider_recovered", provider=result.provider, after_ticks=stats.consecutive_failures)
            stats.consecutive_failures, stats.message = 0, ""
            return
        stats.failures_total += 1
        stats.message = result.message or "no coin had a price"
        if not stats.consecutive_failures:
            self._log.warning("provider_failed", provider=result.provider, reason=result.failure and result.failure.value, message=stats.message)
        stats.consecutive_failures += 1

    async def _sleep_until(self, tick_ts: int) -> None:
        # The wall clock decides, also when it is set while we sleep: no sleep is longer than a tick.
        while (left_ms := tick_ts - self._clock.now_ms()) > 0:
            await self._clock.sleep(min(left_ms, self._rules.tick_ms) / 1000)
