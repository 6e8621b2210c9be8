"""Core of the collector, independent of Ray: turns scraper results into published ticks and reports gaps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from actors.collecting.tick_assembler import ClosedTick, TickAssembler
from actors.collecting.tick_recorder import TickRecorder
from actors.collecting.unify import ReplaceBy, Rules, Unified, unify
from actors.publishing.transaction import KafkaTransaction, Message, Refused, TransactionSink
from actors.taken_ticks import LEAP_MS, SET_BACK_TICKS, TakenTicks
from cryptoviz.assets import Asset
from cryptoviz.clock import Clock, steady_at, steady_ms
from cryptoviz.components import FRESH_TICKS
from cryptoviz.log import get_logger, log_context
from cryptoviz.providers.failures import named
from cryptoviz.records import DOLLAR, DOLLAR_COINS, Role, TickResult
from cryptoviz.settings import Settings
from cryptoviz.telemetry.tracing import Span, current_context, span, tick_context, tick_span

__all__ = ["CollectStats", "CollectorCore", "Snapshot", "rules_of", "unified_of"]

UNCOVERED_TICKS = 100
"""For this many ticks the probe reports a tick on which no provider had a turn: plans should cover one tick in a hundred or more."""


class Snapshot(Protocol):
    """Latest values for readers that connect between ticks. No method blocks."""

    def set_latest(self, transaction: KafkaTransaction) -> None:
        """A tick that Kafka has acknowledged."""


@dataclass(slots=True)
class CollectStats:
    """Statistics for the probe. Times are ms of the monotonic clock, except `last_tick_ts`."""

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
    """Rules of selection from the settings, with the enabled providers in order of preference."""
    collect = settings.collect
    order = tuple(name for name in collect.providers if settings.provider(name).enabled)
    currencies = frozenset({DOLLAR}) | (DOLLAR_COINS if collect.usdt_is_usd else frozenset())
    replace_by, skew_s = ReplaceBy(collect.replace_outlier_by), collect.clock_skew_s
    return Rules(order, collect.stale_after_s, collect.disagree_bps, collect.outlier_bps, replace_by, currencies, skew_s)


def unified_of(closed: ClosedTick, assets: Sequence[Asset], rules: Rules) -> Unified | None:
    """The tick's records. The primary is the first provider that had a turn; None if no provider had one."""
    order = tuple(provider for provider in rules.order if provider not in closed.idle)
    return unify(closed.tick_ts, assets, replace(rules, order=order), closed.results, closed.absent) if order else None


class CollectorCore:
    """Collects results and publishes each tick when it is due. For one event loop."""

    def __init__(
        self, settings: Settings, clock: Clock, sink: TransactionSink, snapshot: Snapshot, published: Callable[[], TakenTicks] | None = None
    ) -> None:
        """`published` returns the published ticks; without it only the newest tick passed to `connected` is known."""
        self._assets: Sequence[Asset] = settings.assets
        self._rules = rules_of(settings)
        self._tick_ms = settings.collect.tick_ms
        self._clock = clock
        self._sink = sink
        self._snapshot = snapshot
        self._assembler = TickAssembler(self._assets, self._rules, self._tick_ms, settings.collect.consensus_wait_ms, clock.now_ms())
        self._recorder = TickRecorder(settings, self._rules)
        self._first_tick = self._assembler.current_tick
        self._wake = asyncio.Event()
        self._log = get_logger("collector")
        # By queued tick, when its last response was received, for the publish latency.
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
    def tick_ms(self) -> int:
        """Time from one tick to the next."""
        return self._tick_ms

    @property
    def late_total(self) -> int:
        """Results received after their tick was closed."""
        return self._assembler.late_total

    def submit(self, result: TickResult) -> None:
        """Add a result. Repeated results of a provider and tick are ignored."""
        self.stats.results_total += 1
        self._log.debug(
            "result_received", tick_ts=result.tick_ts, fetch_id=result.fetch_id, provider=result.provider, prices=len(result.observations)
        )
        if result.tick_ts > self._assembler.current_tick + self._tick_ms or self._assembler.current_tick - result.tick_ts > LEAP_MS:
            # The machine was suspended or its clock was set: close the ticks in between first, so that this result is neither early nor late.
            self.publish_due()
        self._assembler.add(result)
        self._wake.set()

    def deregister(self, provider: str) -> None:
        """The provider was stopped by the operator."""
        self._assembler.deregister(provider)
        self._log.info("provider_stopped", provider=provider)
        self._wake.set()

    def publish_due(self) -> None:
        """Pass the ticks that are due to the publisher."""
        for closed in self._assembler.take_due(self._clock.now_ms()):
            links = [result.traceparent for result in closed.results.values()]
            known = {"cryptoviz.tick_ts": closed.tick_ts, "cryptoviz.results": len(closed.results)}
            with log_context(tick_ts=closed.tick_ts), span("merge", known, tick_context(closed.tick_ts), links) as merge:
                self._close(closed, merge)

    async def run(self) -> None:
        while True:
            self.publish_due()
            # The wall clock may be set during the wait: check at least once a tick.
            wait_ms = min(max(self._assembler.next_due_ms() - self._clock.now_ms(), 1), self._tick_ms)
            try:
                async with asyncio.timeout(wait_ms / 1000):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    def published(self, transaction: KafkaTransaction, now_ms: int) -> None:
        """Kafka has acknowledged the tick."""
        tick_span(transaction.tick_ts, {"cryptoviz.tick_ts": transaction.tick_ts, "cryptoviz.records": len(transaction.messages)})
        self._recorder.published(transaction)
        if not transaction.messages:
            self._answered_ms.pop(transaction.tick_ts, None)
            return
        stats = self.stats
        stats.ticks_published_total += 1
        stats.records_published_total += len(transaction.messages)
        stats.last_publish_ms, stats.last_tick_ts = steady_at(self._clock, now_ms), transaction.tick_ts
        answered_ms = self._answered_ms.get(transaction.tick_ts)
        # Ticks are published in order: earlier ones are in the topic too, even if not acknowledged here (see `PublisherStats.repeated_total`).
        self._answered_ms = {tick_ts: ms for tick_ts, ms in self._answered_ms.items() if tick_ts > transaction.tick_ts}
        if answered_ms is not None:
            stats.publish_latency_ms = float(max(0, now_ms - answered_ms))
        self._snapshot.set_latest(transaction)

    def dropped(self, transaction: KafkaTransaction) -> None:
        """The queue was full: the tick is lost."""
        tick_span(transaction.tick_ts, {"cryptoviz.tick_ts": transaction.tick_ts}, "dropped: queue full while Kafka is unavailable")
        if not transaction.messages:
            return
        self._answered_ms.pop(transaction.tick_ts, None)
        self.stats.dropped_ticks_total += 1
        self._recorder.dropped(transaction)
        self.stats.gaps_total += len(transaction.messages)
        self._log.warning(
            "tick_dropped", tick_ts=transaction.tick_ts, records=len(transaction.messages), reason="queue full while Kafka is unavailable"
        )

    def refused(self, transaction: KafkaTransaction, refused: Refused) -> None:
        """The broker rejects this record permanently: the asset's tick is lost. A lost audit record only prevents a replay of the tick."""
        if refused.message in transaction.messages:
            self._recorder.dropped(transaction)
            self.stats.gaps_total += 1

    def connected(self, last_tick_ts: int | None) -> None:
        """The published ticks are known. Ticks between the newest of them and the start of this collector were missed."""
        self._published = TakenTicks(last_tick_ts) if self._read_published is None else self._read_published()
        self._assembler.learn(self._published)
        if last_tick_ts is not None and self.stats.last_publish_ms is None:
            self.stats.outage_ticks = max(0, (self._first_tick - last_tick_ts) // self._tick_ms - 1)
            if self.stats.outage_ticks:
                self._log.warning("ticks_missed_before_start", ticks=self.stats.outage_ticks, last_tick_ts=last_tick_ts)

    def fresh(self, now_ms: int) -> bool:
        """A tick was published within three ticks, or the collector started within three ticks, or every provider was stopped by the operator.

        False if the clock was set back behind published ticks.
        """
        if self.idle:
            return True
        if self.set_back(now_ms):
            return False
        moments = (self.stats.started_ms, self.stats.last_publish_ms, self._unplanned_ms)
        return self._is_recent(max(moment for moment in moments if moment is not None), FRESH_TICKS, now_ms)

    def healthy(self, now_ms: int) -> bool:
        """Fresh, or ticks are closed in time without prices and none waits for Kafka, or the clock was set back. A restart would not help."""
        return self.fresh(now_ms) or self.set_back(now_ms) or (not self._answered_ms and self._is_recent(self._empty_ms, FRESH_TICKS, now_ms))

    def set_back(self, now_ms: int) -> bool:
        """The clock was set back behind closed or published ticks: no tick is published until it has passed them again."""
        return self.next_tick - now_ms > SET_BACK_TICKS * self._tick_ms

    @property
    def next_tick(self) -> int:
        """The next tick that can be published (UTC epoch ms)."""
        return self._published.first_free(self._assembler.current_tick, self._tick_ms)

    def uncovered(self, now_ms: int) -> str:
        """Status text while the plans do not cover every tick; empty otherwise."""
        if not self._is_recent(self._unplanned_ms, UNCOVERED_TICKS, now_ms):
            return ""
        return f"no provider's plan covered {self.stats.unplanned_ticks_total} ticks (CRYPTOVIZ_COLLECT__PROVIDERS: add an exchange)"

    @property
    def skipped_total(self) -> int:
        """Ticks skipped by a clock jump without being closed. The gap ledger detects them as missing."""
        return self._assembler.skipped_total

    @property
    def idle(self) -> bool:
        """Every provider was stopped by the operator."""
        return self._assembler.stopped >= set(self._rules.order)

    def _is_recent(self, moment_ms: int | None, ticks: int, now_ms: int) -> bool:
        return moment_ms is not None and steady_at(self._clock, now_ms) - moment_ms <= ticks * self._tick_ms

    def _close(self, closed: ClosedTick, merge: Span) -> None:
        unified = unified_of(closed, self._assets, self._rules)
        if unified is None:
            # No plan covers this tick: no price was expected, so none is missing.
            self.stats.unplanned_ticks_total += 1
            tick_span(closed.tick_ts, {"cryptoviz.tick_ts": closed.tick_ts}, "no plan covers it")
            self._recorder.unplanned(closed.tick_ts)
            self._unplanned_ms = steady_ms(self._clock)
            return
        fetch_ids = ",".join(each.fetch_id for each in closed.results.values() if each.fetch_id)
        self._log.debug("tick_closed", records=len(unified.records), fetch_ids=fetch_ids)
        if merge.context:
            providers = ",".join(sorted({record.provider for record in unified.records}))
            merge.set({"cryptoviz.records": len(unified.records), "cryptoviz.gaps": len(unified.gaps), "cryptoviz.providers": providers})
        self._note_gaps(closed, unified)
        self.stats.fallback_assets = sum(record.role == Role.FALLBACK for record in unified.records)
        self.stats.disagreeing_assets = sum(record.disagrees for record in unified.records)
        messages = tuple(Message(r.asset_id.encode(), r.to_json()) for r in unified.records)
        # A tick without an expected price is not recorded.
        audit_records = self._recorder.audit_records(closed, self._clock.now_ms()) if messages or (self.stats.results_total and not self.idle) else ()
        transaction = KafkaTransaction(f"tick-{closed.tick_ts}", closed.tick_ts, messages, audit_records, traceparent=current_context())
        if messages:
            self._answered_ms[transaction.tick_ts] = max(result.ingest_ts for result in closed.results.values() if result.observations)
        else:
            self.stats.empty_ticks_total += 1
            self._empty_ms = steady_ms(self._clock)
        if messages or audit_records:
            self._sink.offer(transaction)
        else:
            tick_span(closed.tick_ts, {"cryptoviz.tick_ts": closed.tick_ts}, "no price was expected")

    def _note_gaps(self, closed: ClosedTick, unified: Unified) -> None:
        # No price is expected before the first result, nor while every provider is stopped.
        expected = self.stats.results_total > 0 and not self.idle
        if unified.gaps and expected:
            self.stats.gaps_total += len(unified.gaps)
            if not self._gap_open:
                reasons = sorted({reason.value for reason in unified.gaps.values()})
                self._log.warning("gap_begins", tick_ts=closed.tick_ts, assets=",".join(unified.gaps), reasons=",".join(reasons))
        elif self._gap_open:
            self._log.info("gap_ends", tick_ts=closed.tick_ts)
        self._gap_open = bool(unified.gaps) and expected
        failing = [named(name, result.message or "no price") for name, result in closed.results.items() if not result.observations]
        self.stats.message = f"no price for {len(unified.gaps)} of {len(self._assets)} assets; {'; '.join(failing)}" if self._gap_open else ""
