"""Poll scheduler of a scraper, independent of Ray: one poll per tick, never two at once, suspended by holds, quota and breaker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from actors.fetching.hold_off import HoldOff
from actors.protection.breaker import Breaker
from actors.quota.planner import Turn
from actors.taken_ticks import LEAP_MS, SET_BACK_TICKS, TakenTicks
from cryptoviz.assets import Asset
from cryptoviz.clock import Clock, steady_at, steady_ms, tick_of, utc_ms
from cryptoviz.components import FRESH_TICKS, scraper_name
from cryptoviz.log import get_logger, log_context
from cryptoviz.provider_status import BreakerState
from cryptoviz.providers.failures import REFUSALS, bounded_wait_s
from cryptoviz.records import FallbackReason, TickResult
from cryptoviz.telemetry.trace_context import Value
from cryptoviz.telemetry.tracing import span, tick_context
from cryptoviz.times import second_text

__all__ = ["PollRules", "PollScheduler", "PollStats", "Pollable", "TurnTaker"]

BUDGET_SHARE = 0.85
"""Share of a tick that a poll may take including its retry: less than the collector's deadline of 0.9."""
CATCH_UP_SHARE = 0.5
"""A scheduler started in the first half of a tick still polls on it; later the collector might have closed the tick."""
MIN_RATE = 1e-5
"""Minimum poll rate, so that an exhausted quota never triggers a restart."""


class Pollable(Protocol):
    """The provider as the scheduler uses it."""

    @property
    def name(self) -> str:
        """Of the provider."""

    async def poll(self, tick_ts: int, assets: Sequence[Asset], budget_s: float) -> TickResult:
        """Poll once; never raises."""


class TurnTaker(Protocol):
    """Decides which ticks are turns of the provider."""

    @property
    def rate(self) -> float:
        """Share of ticks that are turns, 0 to 1."""

    def take(self, tick_ts: int) -> Turn:
        """The decision for a tick. Called once per tick, in order."""


class _EveryTick:
    """Every tick is a turn: no plan applies."""

    rate = 1.0

    def take(self, tick_ts: int) -> Turn:
        del tick_ts
        return Turn.DUE


@dataclass(frozen=True, slots=True)
class PollRules:
    """Intervals of the scheduler.

    Attributes:
        default_wait_s: hold after a refusal that states no wait.
        max_wait_s: upper bound of holds.
        max_quota_wait_s: upper bound of holds after the plan is used up; None for `max_wait_s`.
    """

    tick_ms: int
    default_wait_s: float
    max_wait_s: float
    max_quota_wait_s: float | None = None


@dataclass(slots=True)
class PollStats:
    """Statistics for the probe. Times are ms of the monotonic clock."""

    polls_total: int = 0
    failures_total: int = 0
    consecutive_failures: int = 0
    missed_ticks_total: int = 0
    held_ticks_total: int = 0
    broken_ticks_total: int = 0
    idle_ticks_total: int = 0
    latency_ms: float = 0.0
    started_ms: int = 0
    last_poll_ms: int | None = None
    last_good_poll_ms: int | None = None
    message: str = ""
    last_error: str = ""
    last_error_ms: int | None = None


class PollScheduler:
    """Polls `provider` on each of its turns and passes the result to `deliver`, which must not block."""

    def __init__(
        self,
        provider: Pollable,
        assets: Sequence[Asset],
        rules: PollRules,
        hold_off: HoldOff,
        clock: Clock,
        deliver: Callable[[TickResult], None],
        breaker: Breaker | None = None,
        turns: TurnTaker | None = None,
    ) -> None:
        self._provider = provider
        self._assets = assets
        self._rules = rules
        self._hold_off = hold_off
        self._clock = clock
        self._deliver = deliver
        self._breaker = breaker
        self._turns = turns or _EveryTick()
        self._exhausted = False
        self._next_tick = 0
        self._taken = TakenTicks()
        self._log = get_logger(scraper_name(provider.name))
        self.stats = PollStats()

    async def run(self) -> None:
        interval = self._rules.tick_ms
        now = self._clock.now_ms()
        self.stats.started_ms = steady_ms(self._clock)
        tick_ts = tick_of(now, interval)
        if now - tick_ts > CATCH_UP_SHARE * interval:
            tick_ts += interval
        self._taken = TakenTicks.since(tick_ts, interval)
        while True:
            self._next_tick = tick_ts
            tick_ts = await self._next_due()
            self._taken = self._taken.taking(tick_ts)
            with log_context(tick_ts=tick_ts):
                await self.poll_once(tick_ts)
            following = max(tick_ts + interval, tick_of(self._clock.now_ms(), interval))
            self.stats.missed_ticks_total += (following - tick_ts) // interval - 1
            tick_ts = following

    async def poll_once(self, tick_ts: int) -> TickResult:
        """Process one tick: poll, or give the reason for not polling."""
        now, started_ms = self._clock.now_ms(), steady_ms(self._clock)
        result = self._suspended_result(tick_ts, now, started_ms)
        if result is None:
            # A late start within the tick leaves less time.
            budget_s = (BUDGET_SHARE * self._rules.tick_ms - max(0, now - tick_ts)) / 1000
            try:
                result = await self._traced_poll(tick_ts, max(0.05, budget_s))
            finally:
                if result is None and self._breaker is not None:
                    self._breaker.abandoned(steady_ms(self._clock))
            self._count(result, started_ms)
        if result.due:
            self._log_change(result)
        self._log.debug("polled", fetch_id=result.fetch_id, prices=len(result.observations), reason=result.failure and result.failure.value)
        self._deliver(result)
        return result

    async def _traced_poll(self, tick_ts: int, budget_s: float) -> TickResult:
        known: dict[str, Value] = {"cryptoviz.tick_ts": tick_ts, "cryptoviz.provider": self._provider.name}
        with span("poll", known, parent=tick_context(tick_ts)) as poll:
            result = await self._provider.poll(tick_ts, self._assets, budget_s)
            if poll.context:
                poll.set({"cryptoviz.fetch_id": result.fetch_id, "cryptoviz.prices": len(result.observations), "cryptoviz.attempt": result.attempt})
                if result.failure is not None:
                    poll.fail(f"{result.failure.value}: {result.message}")
                result = replace(result, traceparent=poll.context)
        return result

    def fresh(self, now_ms: int) -> bool:
        """A poll succeeded, or the scheduler started, within the time of three turns. False if the clock was set back behind taken ticks."""
        if self._set_back(now_ms):
            return False
        since_ms = self.stats.started_ms if self.stats.last_good_poll_ms is None else self.stats.last_good_poll_ms
        return steady_at(self._clock, now_ms) - since_ms <= FRESH_TICKS * self.turn_s * 1000

    @property
    def turn_s(self) -> float:
        """Mean time between two turns."""
        return self._rules.tick_ms / 1000 / min(1.0, max(self._turns.rate, MIN_RATE))

    def healthy(self, now_ms: int) -> bool:
        """Fresh, or polls are suspended on purpose, so that a restart would not help."""
        return self.fresh(now_ms) or bool(self.waits(now_ms))

    def waits(self, now_ms: int) -> str:
        """Status text: why polls are suspended and until when. Empty if they are not."""
        name = self._provider.name
        if self._set_back(now_ms):
            return f"the clock was set back: ticks before {second_text(self._next_tick)} were polled already"
        held = self._hold_off.active(steady_at(self._clock, now_ms))
        if held is not None:
            return f"{name} asked to wait ({held[0].value}) until {second_text(now_ms + round(held[1] * 1000))}"
        if self._exhausted:
            return f"{name}: the plan's calls are used up"
        status = self._breaker.status() if self._breaker is not None else None
        if status is None or status.state is BreakerState.CLOSED:
            return ""
        until = f", next try at {second_text(utc_ms(self._clock, status.probe_ms))}" if status.probe_ms is not None else " until it is reset"
        return f"{name}: the breaker is open{until}: {status.reason}"

    def _set_back(self, now_ms: int) -> bool:
        return self._next_tick - now_ms > SET_BACK_TICKS * self._rules.tick_ms

    def _suspended_result(self, tick_ts: int, now: int, steady: int) -> TickResult | None:
        """The result of a tick without a poll; None if the provider is to be polled."""
        name, breaker = self._provider.name, self._breaker
        turn = self._turns.take(tick_ts)
        self._exhausted = turn is Turn.EXHAUSTED
        if turn is Turn.NOT_DUE:
            self.stats.idle_ticks_total += 1
            return TickResult(name, tick_ts, "", 1, now, due=False)
        if turn is Turn.EXHAUSTED:
            self.stats.held_ticks_total += 1
            return TickResult(name, tick_ts, "", 1, now, failure=FallbackReason.QUOTA, message=f"{name}: the plan's calls are used up")
        held = self._hold_off.active(steady)
        if held is not None:
            return self._held_result(tick_ts, *held)
        if breaker is not None and not breaker.allows(steady):
            self.stats.broken_ticks_total += 1
            text = f"{name}: the breaker is open: {breaker.status().reason}"
            return TickResult(name, tick_ts, "", 1, now, failure=FallbackReason.BREAKER_OPEN, message=text)
        return None

    def _held_result(self, tick_ts: int, reason: FallbackReason, left_s: float) -> TickResult:
        self.stats.held_ticks_total += 1
        text = f"{self._provider.name} asked to wait ({reason.value}); next call in {left_s:.0f} s"
        return TickResult(self._provider.name, tick_ts, "", 1, self._clock.now_ms(), failure=reason, message=text)

    def _count(self, result: TickResult, started_ms: int) -> None:
        stats, now = self.stats, steady_ms(self._clock)
        stats.polls_total += 1
        stats.last_poll_ms, stats.latency_ms = now, float(now - started_ms)
        good = result.failure is None and bool(result.observations)
        self._update_breaker(result, now, good=good)
        if not good:
            stats.last_error, stats.last_error_ms = result.message or "no coin had a price", now
        self._hold(result, now)
        if good:
            stats.last_good_poll_ms = now

    def _hold(self, result: TickResult, now: int) -> None:
        """Impose the longest wait of a refusal. The refusal of one shard counts: the provider has one plan."""
        refused = [(one.failure, one.retry_after_s) for one in result.parts or (result,) if one.failure in REFUSALS]
        rules = self._rules
        waits = [(bounded_wait_s(asked_s, rules.default_wait_s, self._longest_wait_s(reason)), reason) for reason, asked_s in refused if reason]
        if waits:
            wait_s, reason = max(waits)
            self._hold_off.impose(reason, wait_s, now)
            self._log.warning("provider_asks_to_wait", provider=result.provider, reason=reason.value, wait_s=wait_s)

    def _update_breaker(self, result: TickResult, now: int, *, good: bool) -> None:
        if self._breaker is None:
            return
        if good:
            self._breaker.good(now)
        else:
            self._breaker.failed(result.failure or FallbackReason.MISSING_ASSET, now)

    def _longest_wait_s(self, reason: FallbackReason) -> float:
        rules = self._rules
        return rules.max_wait_s if reason is not FallbackReason.QUOTA or rules.max_quota_wait_s is None else rules.max_quota_wait_s

    def _log_change(self, result: TickResult) -> None:
        """Log the first of consecutive failures and the recovery, not each tick."""
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

    async def _next_due(self) -> int:
        """Sleep until the next tick is due, and return it."""
        # The wall clock may be set during a sleep, so no sleep is longer than a tick.
        while (left_ms := self._next_tick - self._clock.now_ms()) > 0:
            following = tick_of(self._clock.now_ms(), self._rules.tick_ms) + self._rules.tick_ms
            if self._next_tick - following > LEAP_MS and not self._taken.has(following):
                # The clock was far ahead and is corrected.
                self._next_tick = following
                continue
            await self._clock.sleep(min(left_ms, self._rules.tick_ms) / 1000)
        return self._next_tick
