"""Assembles ticks from scraper results and decides when each tick is closed. Pure: the time is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.collecting.unify import Rules, settled
from actors.taken_ticks import LEAP_MS, TakenTicks
from cryptoviz.assets import Asset
from cryptoviz.clock import tick_of
from cryptoviz.records import FallbackReason, TickResult
from cryptoviz.settings import TICK_DEADLINE_SHARE

__all__ = ["ClosedTick", "TickAssembler"]

MAX_CATCH_UP_TICKS = 100
"""After a suspend of the machine or a clock jump, at most this many ticks are closed one by one; earlier ones are skipped and counted."""
FORGET_TICKS = 3
"""A provider without a result for this many ticks is considered dead and no longer waited for. Stopped scrapers deregister."""


@dataclass(frozen=True, slots=True)
class ClosedTick:
    """A closed tick.

    Attributes:
        results: by provider.
        absent: by provider, why it has no result.
        idle: providers that had no turn on this tick.
    """

    tick_ts: int
    results: dict[str, TickResult]
    absent: dict[str, FallbackReason]
    idle: frozenset[str] = frozenset()


@dataclass(slots=True)
class _OpenTick:
    results: dict[str, TickResult] = field(default_factory=dict)
    idle: set[str] = field(default_factory=set)
    settled_ms: int | None = None


class TickAssembler:
    """Closes ticks in order, each once. Starts with the tick that contains `now_ms`.

    Args:
        consensus_wait_ms: how long a tick whose prices are all decided waits for other providers' prices, for the consensus.
    """

    def __init__(self, assets: Sequence[Asset], rules: Rules, tick_ms: int, consensus_wait_ms: int, now_ms: int) -> None:
        self._assets = assets
        self._rules = rules
        self._tick_ms = tick_ms
        self._wait_ms = consensus_wait_ms
        self._current = tick_of(now_ms, tick_ms)
        self._closed = TakenTicks.since(self._current, tick_ms)
        self._open: dict[int, _OpenTick] = {}
        # Every enabled provider is expected until it is found dead or stopped.
        self._seen: dict[str, int] = dict.fromkeys(rules.order, self._current)
        self._stopped: set[str] = set()
        self._published = TakenTicks()
        self.late_total = 0
        self.skipped_total = 0

    @property
    def current_tick(self) -> int:
        """The next tick to close (UTC epoch ms)."""
        return self._current

    @property
    def stopped(self) -> frozenset[str]:
        """Providers that deregistered and have sent no result since."""
        return frozenset(self._stopped)

    def learn(self, published: TakenTicks) -> None:
        """Set the published ticks. Ticks closed here are known without it."""
        self._published = published

    def expected(self, tick_ts: int) -> frozenset[str]:
        """Providers whose result for this tick is waited for."""
        horizon = tick_ts - FORGET_TICKS * self._tick_ms
        return frozenset(provider for provider, last in self._seen.items() if last > horizon and provider not in self._stopped)

    def add(self, result: TickResult) -> bool:
        """Add a result. Returns False and counts it if its tick is closed or too far ahead, or its provider is not enabled."""
        ahead = result.tick_ts > self._current + self._tick_ms
        if result.provider not in self._rules.order or result.tick_ts < self._current or ahead or result.tick_ts % self._tick_ms:
            self.late_total += 1
            # A late result still shows that the provider is alive.
            if result.provider in self._seen:
                self._heard(result.provider, min(result.tick_ts, self._current))
            return False
        self._heard(result.provider, result.tick_ts)
        tick = self._open.setdefault(result.tick_ts, _OpenTick())
        if result.due:
            # The first result counts; a second one comes from a retried call.
            tick.results.setdefault(result.provider, result)
        else:
            tick.idle.add(result.provider)
        return True

    def deregister(self, provider: str) -> None:
        """The provider was stopped: do not wait for it."""
        if provider in self._seen:
            self._stopped.add(provider)

    def take_due(self, now_ms: int) -> list[ClosedTick]:
        """Close the ticks that are due, oldest first."""
        closed: list[ClosedTick] = []
        self._go_back_to(now_ms)
        self._skip_to(now_ms)
        while self._due(now_ms):
            tick_ts = self._current
            tick = self._open.pop(tick_ts, _OpenTick())
            results, idle = tick.results, frozenset(tick.idle - tick.results.keys())
            gone = self.expected(tick_ts)
            absent = {
                provider: FallbackReason.TIMEOUT if provider in gone else FallbackReason.UNAVAILABLE
                for provider in self._rules.order
                if provider not in results and provider not in idle
            }
            closed.append(ClosedTick(tick_ts, results, absent, idle))
            self._closed = self._closed.taking(tick_ts)
            self._current = tick_ts + self._tick_ms
        return closed

    def next_due_ms(self) -> int:
        """When the next tick is due if no further result arrives (UTC epoch ms)."""
        deadline = self._deadline_ms()
        settled_ms = self._open.get(self._current, _OpenTick()).settled_ms
        return deadline if settled_ms is None else min(deadline, settled_ms + self._wait_ms)

    def _go_back_to(self, now_ms: int) -> None:
        """After the clock was far ahead and is corrected: continue with the current tick if it is neither closed nor published."""
        tick_ts = tick_of(now_ms, self._tick_ms)
        if self._current - tick_ts <= LEAP_MS or self._published.has(tick_ts) or self._closed.has(tick_ts):
            return
        self._current = tick_ts
        self._open = {one: tick for one, tick in self._open.items() if tick_ts <= one <= tick_ts + self._tick_ms}
        self._seen = {provider: min(last, tick_ts) for provider, last in self._seen.items()}

    def _skip_to(self, now_ms: int) -> None:
        first = tick_of(now_ms, self._tick_ms) - MAX_CATCH_UP_TICKS * self._tick_ms
        if self._current < first:
            self.skipped_total += (first - self._current) // self._tick_ms
            self._current = first
            self._open = {tick_ts: tick for tick_ts, tick in self._open.items() if tick_ts >= first}

    def _heard(self, provider: str, tick_ts: int) -> None:
        self._stopped.discard(provider)
        self._seen[provider] = max(self._seen.get(provider, tick_ts), tick_ts)

    def _deadline_ms(self) -> int:
        return self._current + round(TICK_DEADLINE_SHARE * self._tick_ms)

    def _due(self, now_ms: int) -> bool:
        if now_ms >= self._deadline_ms():
            return True
        tick = self._open.get(self._current)
        if tick is None:
            return False
        waiting_for = self.expected(self._current) - tick.results.keys() - tick.idle
        if not waiting_for:
            return True
        if tick.settled_ms is None and settled(self._assets, self._rules, tick.results, waiting_for):
            tick.settled_ms = now_ms
        return tick.settled_ms is not None and now_ms >= tick.settled_ms + self._wait_ms
