"""The collector actor: takes the scrapers' results, publishes one transaction a tick to the stream topic, keeps Redis' snapshot."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from actors.collecting.core import Collecting
from actors.collecting.snapshot import SnapshotWriter
from actors.producer_ids import COLLECTOR
from actors.publishing.kafka_transport import KafkaTransport, PublishedTicks
from actors.publishing.publisher import Publisher
from actors.publishing.transaction import Batch, Refused
from cryptoviz.clock import Clock, SystemClock, second_text, steady_ms
from cryptoviz.components import Probe
from cryptoviz.log import configure_logging
from cryptoviz.log_files import log_to_file
from cryptoviz.records import TickResult
from cryptoviz.settings import Settings

__all__ = ["CollectorActor"]

DRAIN_S = 5.0
"""What a stop waits for queued ticks."""


class _InLoop:
    """Carries the publisher's events from its thread into the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self.collecting: Collecting | None = None

    def published(self, batch: Batch) -> None:
        """Stamped here, in the thread, so that a busy loop does not count as latency."""
        if self.collecting is not None:
            self._call(self.collecting.published, batch, self._clock.now_ms())

    def refused(self, batch: Batch, refused: Refused) -> None:
        """See `PublisherEvents`."""
        if self.collecting is not None:
            self._call(self.collecting.refused, batch, refused)

    def dropped(self, batch: Batch) -> None:
        """Also called from the loop itself, by `offer`."""
        if self.collecting is not None:
            self._call(self.collecting.dropped, batch)

    def connected(self, last_tick_ts: int | None) -> None:
        """See `PublisherEvents`."""
        if self.collecting is not None:
            self._call(self.collecting.connected, last_tick_ts)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)


class CollectorActor:
    """A component (see `cryptoviz.components.ComponentActor`); its Ray name is `collector`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._collecting: Collecting | None = None
        self._publisher: Publisher | None = None
        self._snapshot: SnapshotWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []
        configure_logging(settings.log_level)

    async def start(self) -> None:
        """Begin to collect. A second call does nothing, also while it works on a broker that is away."""
        if self._is_running():
            return
        await self.stop()
        settings, loop = self._settings, asyncio.get_running_loop()
        log_to_file(settings, "collector")
        published = PublishedTicks(self._clock)
        transport = KafkaTransport(settings.kafka, settings.kafka.stream_topic, COLLECTOR, published)
        events = _InLoop(loop, self._clock)
        self._publisher = Publisher("collector", transport, settings.collect.queue_ticks, events)
        self._snapshot = SnapshotWriter(settings.redis.url, self._clock)
        self._collecting = events.collecting = Collecting(settings, self._clock, self._publisher, self._snapshot, lambda: published.taken)
        self._publisher.start()
        self._tasks = [loop.create_task(self._collecting.run(), name="collecting"), loop.create_task(self._snapshot.run(), name="snapshot")]

    async def stop(self) -> None:
        """Publish what is queued for a moment, then end."""
        tasks, self._tasks = self._tasks, []
        publisher, self._publisher = self._publisher, None
        self._collecting = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if publisher is not None:
            await asyncio.to_thread(publisher.close, DRAIN_S)

    async def submit(self, result: TickResult) -> bool:
        """A scraper's result. False when the collector is not started: nobody would publish it."""
        if self._collecting is None:
            return False
        self._collecting.submit(result)
        return True

    async def deregister(self, provider: str) -> None:
        """A scraper was stopped by its operator: wait for it no more."""
        if self._collecting is not None:
            self._collecting.deregister(provider)

    async def probe(self) -> Probe:
        """Healthy when a tick was published within three ticks. Degraded when none was because no provider has a price."""
        collecting, publisher, snapshot = self._collecting, self._publisher, self._snapshot
        if collecting is None or publisher is None or snapshot is None:
            return Probe(running=False, healthy=False, message="not started")
        if not self._is_running():
            return Probe(running=False, healthy=False, message=self._why_ended(), metrics=_metrics(collecting, publisher, snapshot, self._clock))
        now = self._clock.now_ms()
        healthy = collecting.healthy(now)
        # Nothing comes in: a new collector would have nothing to publish either.
        silent = healthy and not collecting.fresh(now)
        delivered = collecting.stats.ticks_published_total > 0
        about = "no provider is running" if collecting.idle else "no provider answers" if silent else "" if delivered else "no tick published yet"
        if collecting.set_back(now):
            about = f"the clock was set back: ticks before {second_text(collecting.next_tick)} are published already"
        message = "; ".join(
            text for text in (about, collecting.unpaid(now), collecting.stats.message, publisher.trouble, snapshot.last_error) if text
        )
        return Probe(
            True,
            healthy,
            message,
            _metrics(collecting, publisher, snapshot, self._clock),
            pid=os.getpid(),
            degraded=silent and delivered,
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


def _metrics(collecting: Collecting, publisher: Publisher, snapshot: SnapshotWriter, clock: Clock) -> dict[str, float]:
    stats = collecting.stats
    metrics = {
        "results_total": float(stats.results_total),
        "late_results_total": float(collecting.late_total),
        "ticks_published_total": float(stats.ticks_published_total),
        "records_published_total": float(stats.records_published_total),
        "fallback_assets": float(stats.fallback_assets),
        "disagreeing_assets": float(stats.disagreeing_assets),
        "gaps_total": float(stats.gaps_total),
        "empty_ticks_total": float(stats.empty_ticks_total),
        "skipped_ticks_total": float(collecting.skipped_total),
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
    if stats.last_publish_ms is not None:
        metrics["last_publish_age_s"] = (steady_ms(clock) - stats.last_publish_ms) / 1000
    if stats.last_tick_ts is not None:
        metrics["last_tick_ts_age_s"] = (clock.now_ms() - stats.last_tick_ts) / 1000
    return metrics
