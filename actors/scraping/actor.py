"""The scraper actor: one provider's poll loop, its raw exchanges to Kafka, its results to the collector."""

from __future__ import annotations

import asyncio
import os

from actors.fetching.build import build_provider
from actors.protection.guards import Guards, MeteredTurns, build_guards, look_up_account
from actors.publishing.exchange_recorder import RawSink
from actors.publishing.kafka_transport import KafkaTransport, PublishedBatches
from actors.publishing.publisher import Publisher
from actors.publishing.transaction import Batch, Refused
from actors.scraping.collector_client import CollectorClient, CollectorLink, RayCollectorClient
from actors.scraping.listing_check import IdCheck
from actors.scraping.poll_scheduler import PollLoop, PollRules
from cryptoviz.clock import SystemClock, steady_ms, utc_ms
from cryptoviz.components import Probe
from cryptoviz.log import configure_logging, get_logger
from cryptoviz.log_files import log_to_file
from cryptoviz.plans import cost_of
from cryptoviz.provider_status import BreakerState, IdsStatus, ScraperStatus
from cryptoviz.providers.base import BaseProvider
from cryptoviz.records import TickResult
from cryptoviz.settings import Settings

__all__ = ["ScraperActor"]

DRAIN_S = 3.0
"""What a stop waits for queued raw exchanges; prices are not in this queue."""


class _RawEvents:
    """Raw exchanges are counted by the publisher. One that Kafka refuses is queued again with less of its body."""

    def __init__(self) -> None:
        self.sink: RawSink | None = None

    def published(self, batch: Batch) -> None:
        """No-op."""

    def dropped(self, batch: Batch) -> None:
        """No-op."""

    def connected(self, last_tick_ts: int | None) -> None:
        """No-op."""

    def refused(self, batch: Batch, refused: Refused) -> None:
        """See `PublisherEvents`."""
        if self.sink is not None:
            self.sink.shorten(batch, refused)


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
        self._side_tasks: tuple[asyncio.Task[None], ...] = ()
        self._id_check: IdCheck | None = None
        self._guards: Guards | None = None
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
        transport = KafkaTransport(settings.kafka, settings.kafka.raw_topic, f"cryptoviz-scraper-{self._name}", PublishedBatches())
        events = _RawEvents()
        # A provider that is asked coin by coin makes an exchange of each.
        exchanges_a_tick = cost_of(self._name, len(settings.assets)).calls
        self._publisher = Publisher(component, transport, settings.collect.queue_ticks * exchanges_a_tick, events, together=exchanges_a_tick)
        recorder = events.sink = RawSink(self._publisher, settings.kafka.max_record_bytes)
        guards = build_guards(self._name, settings, self._clock)
        self._provider = build_provider(self._name, settings, self._clock, recorder, guards.limiter)
        await guards.load()
        self._guards = guards
        self._link = CollectorLink(self._collector, settings.collect.tick_ms, self._clock)
        own = settings.provider(self._name)
        rules = PollRules(settings.collect.tick_ms, own.rate_limit_wait_s, own.max_wait_s, own.quota.max_wait_s)
        turns = MeteredTurns(guards.turns, guards.meter)
        self._loop = PollLoop(self._provider, settings.assets, rules, guards.hold_off, self._clock, self._deliver, guards.breaker, turns)
        kept = settings.run_dir / f"listing-{self._name}.json"
        self._id_check = IdCheck(self._provider, settings.assets, guards, own, self._clock, kept, settings.network)
        self._publisher.start()
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._loop.run(), name=component)
        self._side_tasks = (
            loop.create_task(self._look_up(self._provider, guards), name=f"{component} account"),
            loop.create_task(self._id_check.run(), name=f"{component} ids"),
        )
        self._side_tasks[-1].add_done_callback(self._id_check_ended)

    async def stop(self) -> None:
        """End the loop, say goodbye to the collector, flush raw exchanges for a moment."""
        tasks = [task for task in (self._task, *self._side_tasks) if task is not None]
        self._task, self._side_tasks = None, ()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._guards is not None:
            await self._guards.aclose()
        if self._link is not None:
            await self._link.goodbye(self._name)
        if self._provider is not None:
            await self._provider.aclose()
        if self._publisher is not None:
            await asyncio.to_thread(self._publisher.close, DRAIN_S)

    async def probe(self) -> Probe:
        """Healthy when a poll was good within three ticks. Degraded when bodies have lost fields that records are made of, and while the provider is
        not asked on purpose for longer than that: held by it, plan used up, breaker open.
        """
        loop, publisher, link, provider = self._loop, self._publisher, self._link, self._provider
        if self._task is None or loop is None or publisher is None or link is None or provider is None:
            return Probe(running=False, healthy=False, message="not started")
        if self._task.done() or publisher.ended:
            return Probe(running=False, healthy=False, message=publisher.stats.message or "the poll loop or its publisher ended")
        now, steady, stats, ids = self._clock.now_ms(), steady_ms(self._clock), loop.stats, self._ids()
        findings = provider.shape_watch.findings
        # Data that is not fresh because nothing may be asked: a person should know, a new scraper would be held as well.
        delivered = stats.last_good_poll_ms is not None
        held = "" if delivered and loop.fresh(now) else loop.waits(now)
        waiting = "" if delivered or stats.message else "no poll yet"
        why = stats.last_error if held and not delivered else ""  # a wait says when, not what was wrong
        told = (held or stats.message or waiting, why, findings.message, ids.text(self._name))
        messages = (*told, provider.note, link.last_error, publisher.trouble)
        metrics = {
            "polls_total": float(stats.polls_total),
            "failures_total": float(stats.failures_total),
            "consecutive_failures": float(stats.consecutive_failures),
            "held_ticks_total": float(stats.held_ticks_total),
            "broken_ticks_total": float(stats.broken_ticks_total),
            "idle_ticks_total": float(stats.idle_ticks_total),
            "missed_ticks_total": float(stats.missed_ticks_total),
            "latency_ms": stats.latency_ms,
            "raw_published_total": float(publisher.stats.records_total),
            "raw_dropped_total": float(publisher.stats.dropped_total),
            "raw_refused_total": float(publisher.stats.refused_total),
            "raw_queue": float(publisher.stats.queue),
            "results_delivered_total": float(link.delivered_total),
            "results_undelivered_total": float(link.undelivered_total),
            "unlisted_ids": float(len(ids.problems)),
            **findings.metrics,
        }
        if stats.last_poll_ms is not None:
            metrics["last_poll_age_s"] = (steady - stats.last_poll_ms) / 1000
        if stats.last_good_poll_ms is not None:
            metrics["last_good_poll_age_s"] = (steady - stats.last_good_poll_ms) / 1000
        message = "; ".join(text for text in messages if text)
        # A breaker that never saw a good answer tells of no provider that holds us, but of one that was not reached yet.
        imposed = bool(held) and (delivered or not self._only_broken())
        degraded = findings.degrading or imposed
        return Probe(True, loop.healthy(now), message, metrics, pid=os.getpid(), degraded=degraded, delivered=delivered)

    async def provider_status(self) -> ScraperStatus | None:
        """How the provider stands; None before the start."""
        guards, loop = self._guards, self._loop
        if guards is None or loop is None:
            return None
        now, stats = self._clock.now_ms(), loop.stats
        return ScraperStatus(
            breaker=guards.breaker_status(self._clock),
            quotas=guards.quotas(now, self._settings.collect.tick_ms),
            hold=guards.hold(self._clock),
            rate=guards.turns.rate,
            latency_ms=stats.latency_ms if stats.polls_total else None,
            last_good_ms=self._utc(stats.last_good_poll_ms),
            last_error=stats.last_error,
            last_error_ms=self._utc(stats.last_error_ms),
            ids=self._ids(),
        )

    def _utc(self, moment_ms: int | None) -> int | None:
        return None if moment_ms is None else utc_ms(self._clock, moment_ms)

    async def trip_breaker(self, reason: str) -> ScraperStatus | None:
        """The operator opens the breaker; it stays open until reset. None before the start."""
        if self._guards is not None:
            self._guards.breaker.trip(reason, steady_ms(self._clock))
        return await self.provider_status()

    async def reset_breaker(self) -> ScraperStatus | None:
        """The operator closes the breaker and lifts a wait that the provider imposed. None before the start."""
        if self._guards is not None:
            self._guards.breaker.reset(steady_ms(self._clock))
            self._guards.hold_off.lift()
        return await self.provider_status()

    def _only_broken(self) -> bool:
        guards = self._guards
        if guards is None or guards.hold(self._clock) is not None:
            return False
        breaker = guards.breaker.status()
        return breaker.state is not BreakerState.CLOSED and not breaker.by_operator

    def _ids(self) -> IdsStatus:
        return self._id_check.status if self._id_check is not None else IdsStatus()

    def _id_check_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # A bug in a third party's `listed`: its answers go on to tell.
            get_logger(f"scraper/{self._name}").error("id_check_failed", error=repr(error))

    def _deliver(self, result: TickResult) -> None:
        if self._link is not None:
            self._link.deliver(result)
        if result.observations and self._id_check is not None:
            self._id_check.polled()

    async def _look_up(self, provider: BaseProvider, guards: Guards) -> None:
        every_s = self._settings.provider(self._name).quota.look_up_s
        while True:
            try:
                await look_up_account(provider, guards, self._settings, self._clock)
            except Exception:  # noqa: BLE001 (the account is a convenience: without it the settings count on)
                get_logger(f"scraper/{self._name}").exception("account_look_up_failed")
            await self._clock.sleep(every_s)
