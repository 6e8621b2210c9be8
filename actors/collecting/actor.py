"""Collector actor: receives scraper results, publishes one transaction per tick to the stream topic, and updates the snapshot in Redis."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from actors.collecting.core import CollectorCore
from actors.collecting.snapshot import SnapshotWriter
from actors.publishing.kafka_transport import KafkaTransport, PublishedTicks
from actors.publishing.publisher import Publisher
from actors.publishing.transaction import KafkaTransaction, Refused
from cryptoviz.clock import Clock, SystemClock, steady_ms
from cryptoviz.components import COLLECTOR, Probe
from cryptoviz.kafka import producer_id
from cryptoviz.log import configure_logging
from cryptoviz.records import TickResult
from cryptoviz.settings import Settings
from cryptoviz.telemetry.log_files import log_to_file
from cryptoviz.telemetry.tracing import flush_spans, start_tracing
from cryptoviz.times import second_text

__all__ = ["CollectorActor"]

DRAIN_S = 5.0
"""Maximum time to publish queued ticks on stop."""


class _InLoop:
    """`PublisherEvents`: forwards the publisher's events from its thread to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self.core: CollectorCore | None = None

    def published(self, transaction: KafkaTransaction) -> None:
        """Takes the time in the publisher's thread, so that a busy event loop does not add to the latency."""
        if self.core is not None:
            self._call(self.core.published, transaction, self._clock.now_ms())

    def refused(self, transaction: KafkaTransaction, refused: Refused) -> None:
        if self.core is not None:
            self._call(self.core.refused, transaction, refused)

    def dropped(self, transaction: KafkaTransaction) -> None:
        """Called from the event loop itself, by `offer`."""
        if self.core is not None:
            self._call(self.core.dropped, transaction)

    def connected(self, last_tick_ts: int | None) -> None:
        if self.core is not None:
            self._call(self.core.connected, last_tick_ts)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)


class CollectorActor:
    """A component (see `cryptoviz.components.ComponentActor`); its Ray name is `collector`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._core: CollectorCore | None = None
        self._publisher: Publisher | None = None
        self._snapshot: SnapshotWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []
        configure_logging(settings.log_level, form=settings.log_format)

    async def start(self) -> None:
        """Start collecting. No-op while running, even if the broker is unavailable."""
        if self._is_running():
            return
        await self.stop()
        settings, loop = self._settings, asyncio.get_running_loop()
        log_to_file(settings, COLLECTOR)
        start_tracing(settings, COLLECTOR)
        published = PublishedTicks(self._clock)
        topic = settings.kafka.stream_topic
        transport = KafkaTransport(settings.kafka, topic, producer_id(COLLECTOR, topic), published)
        events = _InLoop(loop, self._clock)
        self._publisher = Publisher("collector", transport, settings.collect.queue_ticks, events)
        self._snapshot = SnapshotWriter(settings.redis, settings.ray.namespace, self._clock)
        self._core = events.core = CollectorCore(settings, self._clock, self._publisher, self._snapshot, lambda: published.taken)
        self._publisher.start()
        self._tasks = [loop.create_task(self._core.run(), name="collecting"), loop.create_task(self._snapshot.run(), name="snapshot")]

    async def stop(self) -> None:
        """Publish the queue for up to `DRAIN_S`, then stop."""
        tasks, self._tasks = self._tasks, []
        publisher, self._publisher = self._publisher, None
        self._core = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if publisher is not None:
            await asyncio.to_thread(publisher.close, DRAIN_S)
            await asyncio.to_thread(flush_spans)

    async def submit(self, result: TickResult) -> bool:
        """Add a scraper's result. Returns False if the collector is not started."""
        if self._core is None:
            return False
        self._core.submit(result)
        return True

    async def deregister(self, provider: str) -> None:
        """The scraper was stopped by the operator: do not wait for it."""
        if self._core is not None:
            self._core.deregister(provider)

    async def probe(self) -> Probe:
        """Healthy if a tick was published within three ticks. Degraded if none was because no provider has a price, or Kafka does not answer."""
        core, publisher, snapshot = self._core, self._publisher, self._snapshot
        if core is None or publisher is None or snapshot is None:
            return Probe(running=False, healthy=False, message="not started")
        if not self._is_running():
            return Probe(running=False, healthy=False, message=self._why_ended(), metrics=_metrics(core, publisher, snapshot, self._clock))
        now = self._clock.now_ms()
        # Ticks wait in the queue of this process: a restart would lose them.
        retries = publisher.retries
        healthy = core.healthy(now) or retries
        # No provider has a price: a restart of the collector would not help.
        stale = healthy and not core.fresh(now)
        silent = stale and not retries
        delivered = core.stats.ticks_published_total > 0
        about = "" if delivered else "no tick published yet"
        if core.idle or silent:
            about = "no provider is running" if core.idle else "no provider answers"
        if core.set_back(now):
            about = f"the clock was set back: ticks before {second_text(core.next_tick)} are published already"
        message = "; ".join(text for text in (about, core.uncovered(now), core.stats.message, publisher.status_text, snapshot.last_error) if text)
        return Probe(
            True,
            healthy,
            message,
            _metrics(core, publisher, snapshot, self._clock),
            pid=os.getpid(),
            degraded=stale and delivered,
            delivered=delivered,
        )

    def _is_running(self) -> bool:
        ended = self._publisher is not None and self._publisher.ended
        return bool(self._tasks) and not ended and not any(task.done() for task in self._tasks)

    def _why_ended(self) -> str:
        errors = [repr(task.exception()) for task in self._tasks if task.done() and not task.cancelled()]
        if self._publisher is not None and self._publisher.ended:
            errors.append(self._publisher.stats.message or "the publisher's thread ended")
        return "; ".join(errors) or "the collector's work ended"


def _metrics(core: CollectorCore, publisher: Publisher, snapshot: SnapshotWriter, clock: Clock) -> dict[str, float]:
    stats = core.stats
    metrics = {
        "results_total": float(stats.results_total),
        "late_results_total": float(core.late_total),
        "ticks_published_total": float(stats.ticks_published_total),
        "records_published_total": float(stats.records_published_total),
        "fallback_assets": float(stats.fallback_assets),
        "disagreeing_assets": float(stats.disagreeing_assets),
        "gaps_total": float(stats.gaps_total),
        "empty_ticks_total": float(stats.empty_ticks_total),
        "skipped_ticks_total": float(core.skipped_total),
        "unplanned_ticks_total": float(stats.unplanned_ticks_total),
        "outage_ticks": float(stats.outage_ticks),
        "queue_ticks": float(publisher.stats.queue),
        "dropped_ticks_total": float(stats.dropped_ticks_total),
        "publish_failures_total": float(publisher.stats.failures_total),
        "repeated_ticks_total": float(publisher.stats.repeated_total),
        "refused_records_total": float(publisher.stats.refused_total),
        "snapshot_failures_total": float(snapshot.failures_total),
    }
    if stats.publish_latency_ms is not None:
        metrics["publish_latency_ms"] = stats.publish_latency_ms
    since_ms = stats.started_ms if stats.last_publish_ms is None else stats.last_publish_ms
    metrics |= {"last_publish_age_s": (steady_ms(clock) - since_ms) / 1000, "tick_s": core.tick_ms / 1000}
    if stats.last_tick_ts is not None:
        metrics["last_tick_ts_age_s"] = (clock.now_ms() - stats.last_tick_ts) / 1000
    return metrics
