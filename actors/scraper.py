"""The scraper actor: one provider's poll loop, its raw exchanges to Kafka, its results to the collector."""

from __future__ import annotations

import asyncio
import os

from actors.batch import Batch
from actors.kafka import KafkaTransport, SeenFetches
from actors.links import CollectorClient, CollectorLink, RayCollectorClient
from actors.pollloop import PollLoop, PollRules
from actors.providers.base import BaseProvider
from actors.providers.limiter import HoldOff
from actors.providers.registry import build_provider
from actors.publisher import Publisher
from actors.rawsink import RawSink
from cryptoviz.clock import SystemClock
from cryptoviz.components import Probe
from cryptoviz.log import configure_logging, log_to_file
from cryptoviz.settings import Settings

__all__ = ["ScraperActor"]

DRAIN_S = 3.0
"""What a stop waits for queued raw exchanges; prices are not in this queue."""


class _IgnoreEvents:
    """Raw exchanges are counted by the publisher; nothing else follows from their fate."""

    def published(self, batch: Batch) -> None:
        """Nothing."""

    def dropped(self, batch: Batch) -> None:
        """Nothing."""

    def connected(self, last_tick_ts: int | None) -> None:
        """Nothing."""


class ScraperActor:
    """A component (see `cryptoviz.components.ComponentActor`); its Ray name is `scraper/<provider>`.

    Args:
        collector: how to reach the collector; by default the Ray actor of that name.
    """

    def __init__(self, settings: Settings, provider: str, collector: CollectorClient | None = None) -> None:
        self._settings = settings
        self._name = provider
        self._collector = collector or RayCollectorClient(settings.ray.namespace)
        self._clock = SystemClock()
        self._provider: BaseProvider | None = None
        self._loop: PollLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._publisher: Publisher | None = None
        self._link: CollectorLink | None = None
        configure_logging(settings.log_level)

    async def start(self) -> None:
        """Begin to poll. A second call does nothing. Raises SettingsError for an unknown provider or a plan without its key."""
        if self._task is not None:
            if not self._task.done() and self._publisher is not None and not self._publisher.ended:
                return
            await self.stop()
        settings, component = self._settings, f"scraper/{self._name}"
        log_to_file(settings, component)
        transport = KafkaTransport(settings.kafka, settings.kafka.raw_topic, f"cryptoviz-scraper-{self._name}", SeenFetches())
        self._publisher = Publisher(component, transport, settings.collect.queue_ticks, _IgnoreEvents())
        recorder = RawSink(self._publisher, settings.kafka.max_record_bytes)
        self._provider = build_provider(self._name, settings, self._clock, recorder)
        self._link = CollectorLink(self._collector, settings.collect.tick_ms, self._clock)
        hold_off = HoldOff(settings.run_dir / f"hold-off-{self._name}.json")
        hold_off.load()
        own = settings.provider(self._name)
        rules = PollRules(settings.collect.tick_ms, own.rate_limit_wait_s, own.max_wait_s)
        self._loop = PollLoop(self._provider, settings.assets, rules, hold_off, self._clock, self._link.deliver)
        self._publisher.start()
        self._task = asyncio.get_running_loop().create_task(self._loop.run(), name=component)

    async def stop(self) -> None:
        """End the loop, say goodbye to the collector, flush raw exchanges for a moment."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._link is not None:
            await self._link.goodbye(self._name)
        if self._provider is not None:
            await self._provider.aclose()
        if self._publisher is not None:
            await asyncio.to_thread(self._publisher.close, DRAIN_S)

    async def probe(self) -> Probe:
        """Healthy when a poll was good within three ticks; degraded when bodies have lost fields that records are made of."""
        loop, publisher, link, provider = self._loop, self._publisher, self._link, self._provider
        if self._task is None or loop is None or publisher is None or link is None or provider is None:
            return Probe(running=False, healthy=False, message="not started")
        if self._task.done() or publisher.ended:
            return Probe(running=False, healthy=False, message=publisher.stats.message or "the poll loop or its publisher ended")
        now, stats = self._clock.now_ms(), loop.stats
        findings = provider.shape_watch.findings
        messages = (stats.message, findings.message, provider.unlisted_text, link.last_error, publisher.trouble)
        metrics = {
            "polls_total": float(stats.polls_total),
            "failures_total": float(stats.failures_total),
            "consecutive_failures": float(stats.consecutive_failures),
            "held_ticks_total": float(stats.held_ticks_total),
            "missed_ticks_total": float(stats.missed_ticks_total),
            "latency_ms": stats.latency_ms,
            "raw_published_total": float(publisher.stats.records_total),
            "raw_dropped_total": float(publisher.stats.dropped_total),
            "raw_queue": float(publisher.stats.queue),
            "results_delivered_total": float(link.delivered_total),
            "results_undelivered_total": float(link.undelivered_total),
            "unlisted_ids": float(len(provider.unlisted)),
            **findings.metrics,
        }
        if stats.last_poll_ms is not None:
            metrics["last_poll_age_s"] = (now - stats.last_poll_ms) / 1000
        if stats.last_good_poll_ms is not None:
            metrics["last_good_poll_age_s"] = (now - stats.last_good_poll_ms) / 1000
        message = "; ".join(text for text in messages if text)
        return Probe(True, loop.healthy(now), message, metrics, pid=os.getpid(), degraded=findings.degrading)
