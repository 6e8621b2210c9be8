"""The collector's work apart from Ray: results in, one published tick out, with its gaps and the providers' states told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import orjson

from actors.collecting.tick_assembler import ClosedTick, TickBoard
from actors.collecting.tick_recorder import Recording
from actors.collecting.unify import ReplaceBy, Rules, Unified, unify
from actors.publishing.transaction import Batch, BatchSink, Message, Refused
from actors.taken_ticks import LEAP_MS, TakenTicks
from cryptoviz.assets import Asset
from cryptoviz.clock import Clock, steady_at, steady_ms
from cryptoviz.currencies import DOLLAR, DOLLAR_COINS
from cryptoviz.log import get_logger
from cryptoviz.providers.failures import named
from cryptoviz.records import Role, TickResult
from cryptoviz.settings import Settings

__all__ = ["CollectStats", "Collecting", "Snapshot", "rules_of", "unified_of"]

FRESH_TICKS = 3
"""Data older than this many ticks is not fresh (DESIGN 7)."""
UNPAID_TICKS = 100
"""So long it is told that a tick was paid for by no plan: plans that pay for one tick in a hundred are the smallest worth having."""
SET_BACK_TICKS = 2
"""A next tick further ahead means that the clock was set back: those between are published, and are not published twice."""


class Snapshot(Protocol):
    """What the collector tells readers who come late. None of it blocks."""

    def set_latest(self, batch: Batch) -> None:
        """A tick that Kafka has acknowledged."""
        ...

    def set_providers(self, states: Mapping[str, bytes]) -> None:
        """How each provider's last tick went, as JSON."""
        ...

    def count_gaps(self, asset_ids: Mapping[str, int]) -> None:
        """Ticks without a price, by asset."""
        ...


@dataclass(slots=True)
class CollectStats:
    """What the probe tells. Times are ms of the monotonic clock, but for the tick."""

    started_ms: int = 0
    results_total: int = 0
    ticks_published_total: int = 0
    records_published_total: int = 0
    gaps_total: int = 0
    empty_ticks_total: int = 0
    unplanned_ticks_total: int = 0
    dropped_ticks_total: int = 0
    outage_ticks: int = 0
    fallback_assets: int = 0
    disagreeing_assets: int = 0
    last_publish_ms: int | None = None
    last_tick_ts: int | None = None
    publish_latency_ms: float | None = None
    message: str = ""


def rules_of(settings: Settings) -> Rules:
    """The rules that the settings ask for: the enabled providers in their order."""
    collect = settings.collect
    order = tuple(name for name in collect.providers if settings.provider(name).enabled)
    currencies = frozenset({DOLLAR}) | (DOLLAR_COINS if collect.usdt_is_usd else frozenset())
    replace_by, skew_s = ReplaceBy(collect.replace_outlier_by), collect.clock_skew_s
    return Rules(order, collect.stale_after_s, collect.disagree_bps, collect.outlier_bps, replace_by, currencies, skew_s)


def unified_of(closed: ClosedTick, assets: Sequence[Asset], rules: Rules) -> Unified | None:
    """The tick's records. The first provider whose turn it is is the tick's primary; None when it is nobody's."""
    order = tuple(provider for provider in rules.order if provider not in closed.idle)
    return unify(closed.tick_ts, assets, replace(rules, order=order), closed.results, closed.absent) if order else None


class Collecting:
    """Files results and publishes each tick when it is due. All methods belong to one event loop."""

    def __init__(
        self, settings: Settings, clock: Clock, sink: BatchSink, snapshot: Snapshot, published: Callable[[], TakenTicks] | None = None
    ) -> None:
        """`published` says what is published; without it the newest tick that `connected` names is all that is known."""
        self._assets: Sequence[Asset] = settings.assets
        self._rules = rules_of(settings)
        self._tick_ms = settings.collect.tick_ms
        self._clock = clock
        self._sink = sink
        self._snapshot = snapshot
        self._board = TickBoard(self._assets, self._rules, self._tick_ms, settings.collect.consensus_wait_ms, clock.now_ms())
        self._recording = Recording(settings, self._rules)
        self._first_tick = self._board.current_tick
        self._wake = asyncio.Event()
        self._log = get_logger("collector")
        # When the last answer of a tick in the queue had come, for the publish latency.
        self._answered_ms: dict[int, int] = {}
        self._gap_open = False
        self._read_published = published
        # As of the last connection.
        self._published = TakenTicks()
        # Moments of the monotonic clock; None: never.
        self._unplanned_ms: int | None = None
        self._empty_ms: int | None = None
        self.stats = CollectStats(started_ms=steady_ms(clock))

    @property
    def late_total(self) -> int:
        """Results that came when their tick was over."""
        return self._board.late_total

    def submit(self, result: TickResult) -> None:
        """File a result. A repeated one counts once."""
        self.stats.results_total += 1
        if result.tick_ts > self._board.current_tick + self._tick_ms or self._board.current_tick - result.tick_ts > LEAP_MS:
            # The machine slept, or its clock was set: what lies between is over, and this result is neither early nor late.
            self.publish_due()
        self._board.add(result)
        self._wake.set()

    def deregister(self, provider: str) -> None:
        """The provider was stopped by its operator."""
        self._board.deregister(provider)
        self._log.info("provider_stopped", provider=provider)
        self._wake.set()

    def publish_due(self) -> None:
        """Hand the ticks that are due now to the publisher."""
        for closed in self._board.take_due(self._clock.now_ms()):
            self._close(closed)

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            self.publish_due()
            # The wall clock may be set while we wait: look again at least once a tick.
            wait_ms = min(max(self._board.next_due_ms() - self._clock.now_ms(), 1), self._tick_ms)
            try:
                async with asyncio.timeout(wait_ms / 1000):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    def published(self, batch: Batch, now_ms: int) -> None:
        """Kafka has acknowledged the tick."""
        self._recording.published(batch)
        if not batch.messages:
            self._answered_ms.pop(batch.tick_ts, None)
            return
        stats = self.stats
        stats.ticks_published_total += 1
        stats.records_published_total += len(batch.messages)
        stats.last_publish_ms, stats.last_tick_ts = steady_at(self._clock, now_ms), batch.tick_ts
        answered_ms = self._answered_ms.get(batch.tick_ts)
        # Ticks go in order: earlier ones are in the topic, too, even if nobody told (see `Publisher`, `repeated_total`).
        self._answered_ms = {tick_ts: ms for tick_ts, ms in self._answered_ms.items() if tick_ts > batch.tick_ts}
        if answered_ms is not None:
            stats.publish_latency_ms = float(max(0, now_ms - answered_ms))
        self._snapshot.set_latest(batch)

    def dropped(self, batch: Batch) -> None:
        """The queue was full: this tick is lost."""
        if not batch.messages:
            return
        self._answered_ms.pop(batch.tick_ts, None)
        self.stats.dropped_ticks_total += 1
        self._recording.dropped(batch)
        self._count_gaps([message.key.decode() for message in batch.messages])
        self._log.warning("tick_dropped", tick_ts=batch.tick_ts, records=len(batch.messages), reason="queue full while Kafka is away")

    def refused(self, batch: Batch, refused: Refused) -> None:
        """The broker never takes this record: the asset's tick is lost. A refused note costs what a replay needs, and no price."""
        if refused.message in batch.messages:
            self._recording.dropped(batch)
            self._count_gaps([refused.message.key.decode()])

    def connected(self, last_tick_ts: int | None) -> None:
        """It is known what is published: ticks between it and our start were seen by nobody."""
        self._published = TakenTicks(last_tick_ts) if self._read_published is None else self._read_published()
        self._board.learn(self._published)
        if last_tick_ts is not None and self.stats.last_publish_ms is None:
            self.stats.outage_ticks = max(0, (self._first_tick - last_tick_ts) // self._tick_ms - 1)
            if self.stats.outage_ticks:
                self._log.warning("ticks_missed_before_start", ticks=self.stats.outage_ticks, last_tick_ts=last_tick_ts)

    def fresh(self, now_ms: int) -> bool:
        """A tick was published within three ticks, or the start is not older, or every provider was stopped on purpose.

        Not when the clock was set back behind ticks that are published.
        """
        if self.idle:
            return True
        if self.set_back(now_ms):
            return False
        moments = (self.stats.started_ms, self.stats.last_publish_ms, self._unplanned_ms)
        return self._is_recent(max(moment for moment in moments if moment is not None), FRESH_TICKS, now_ms)

    def healthy(self, now_ms: int) -> bool:
        """Fresh, or no provider has a price: ticks are closed in time, and none waits for Kafka. Or the clock was set back, as for any successor."""
        return self.fresh(now_ms) or self.set_back(now_ms) or (not self._answered_ms and self._is_recent(self._empty_ms, FRESH_TICKS, now_ms))

    def set_back(self, now_ms: int) -> bool:
        """The clock has gone back behind ticks that are closed or published: nothing more comes until it has passed them again."""
        return self.next_tick - now_ms > SET_BACK_TICKS * self._tick_ms

    @property
    def next_tick(self) -> int:
        """The first tick that can still be published (UTC epoch ms)."""
        return self._published.first_free(self._board.current_tick, self._tick_ms)

    def unpaid(self, now_ms: int) -> str:
        """For a person, while some ticks are no provider's turn because the plans do not pay for all. Empty otherwise."""
        if not self._is_recent(self._unplanned_ms, UNPAID_TICKS, now_ms):
            return ""
        return f"{self.stats.unplanned_ticks_total} ticks were paid for by no provider's plan (CRYPTOVIZ_COLLECT__PROVIDERS: add an exchange)"

    @property
    def skipped_total(self) -> int:
        """Ticks of a leap of the clock that were not even closed; the gap ledger finds them missing."""
        return self._board.skipped_total

    @property
    def idle(self) -> bool:
        """Every provider was stopped: there is nothing to collect."""
        return self._board.stopped >= set(self._rules.order)

    def _is_recent(self, moment_ms: int | None, ticks: int, now_ms: int) -> bool:
        return moment_ms is not None and steady_at(self._clock, now_ms) - moment_ms <= ticks * self._tick_ms

    def _close(self, closed: ClosedTick) -> None:
        unified = unified_of(closed, self._assets, self._rules)
        if unified is None:
            # The plans pay for no call on this tick: nothing was expected, nothing is missing.
            self.stats.unplanned_ticks_total += 1
            self._recording.unplanned(closed.tick_ts)
            self._unplanned_ms = steady_ms(self._clock)
            return
        self._snapshot.set_providers(_provider_states(closed, self._board.stopped))
        self._note_gaps(closed, unified)
        self.stats.fallback_assets = sum(record.role == Role.FALLBACK for record in unified.records)
        self.stats.disagreeing_assets = sum(record.disagrees for record in unified.records)
        messages = tuple(Message(r.asset_id.encode(), r.to_json()) for r in unified.records)
        # While nothing is expected nothing is recorded either.
        notes = self._recording.notes(closed, self._clock.now_ms()) if messages or (self.stats.results_total and not self.idle) else ()
        batch = Batch(f"tick-{closed.tick_ts}", closed.tick_ts, messages, notes)
        if messages:
            self._answered_ms[batch.tick_ts] = max(result.ingest_ts for result in closed.results.values() if result.observations)
        else:
            self.stats.empty_ticks_total += 1
            self._empty_ms = steady_ms(self._clock)
        if messages or notes:
            self._sink.offer(batch)

    def _note_gaps(self, closed: ClosedTick, unified: Unified) -> None:
        # Before the first result nothing was expected yet, and nothing is while every provider is stopped.
        expected = self.stats.results_total > 0 and not self.idle
        if unified.gaps and expected:
            self._count_gaps(list(unified.gaps))
            if not self._gap_open:
                reasons = sorted({reason.value for reason in unified.gaps.values()})
                self._log.warning("gap_begins", tick_ts=closed.tick_ts, assets=",".join(unified.gaps), reasons=",".join(reasons))
        elif self._gap_open:
            self._log.info("gap_ends", tick_ts=closed.tick_ts)
        self._gap_open = bool(unified.gaps) and expected
        failing = [named(name, result.message or "no price") for name, result in closed.results.items() if not result.observations]
        self.stats.message = f"no price for {len(unified.gaps)} of {len(self._assets)} assets; {'; '.join(failing)}" if self._gap_open else ""

    def _count_gaps(self, asset_ids: Sequence[str]) -> None:
        self.stats.gaps_total += len(asset_ids)
        self._snapshot.count_gaps(dict.fromkeys(asset_ids, 1))


def _provider_states(closed: ClosedTick, stopped: frozenset[str]) -> dict[str, bytes]:
    """By provider: how its tick went, for pages that show it."""
    states: dict[str, dict[str, Any]] = {}
    for provider, result in closed.results.items():
        states[provider] = {
            "ok": result.failure is None and bool(result.observations),
            "failure": result.failure,
            "message": result.message,
            "prices": len(result.observations),
            "asset_failures": result.asset_failures,
            "attempt": result.attempt,
            "ingest_ts": result.ingest_ts,
        }
    for provider, reason in closed.absent.items():
        message = "stopped" if provider in stopped else "no result in time"
        states[provider] = {
            "ok": False, "failure": reason, "message": message, "prices": 0, "asset_failures": {}, "attempt": 0, "ingest_ts": None,
        }  # fmt: skip
    common = {"tick_ts": closed.tick_ts}
    return {name: orjson.dumps({"provider": name, "stopped": name in stopped} | common | state) for name, state in states.items()}
