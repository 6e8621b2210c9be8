"""Scraper actor: polls one provider, records the raw exchanges in Kafka, and sends the results to the collector."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from functools import partial

from actors.fetching.build import build_provider
from actors.protection.provider_protection import ProviderProtection, build_protection, look_up_account
from actors.publishing.publisher import Publisher
from actors.scraping.collector_client import CollectorClient, RayCollectorClient, ResultSender
from actors.scraping.listing_check import ListingCheck
from actors.scraping.poll_scheduler import PollRules, PollScheduler
from actors.scraping.raw_publisher import DRAIN_S, raw_publisher
from actors.scraping.shard_calls import RayShardClient, ShardClient
from actors.scraping.sharded_provider import ShardedProvider
from cryptoviz.clock import SystemClock, steady_ms, utc_ms
from cryptoviz.components import FAILURES_METRIC, Probe, scraper_name
from cryptoviz.log import configure_logging, get_logger
from cryptoviz.plans import cost_of
from cryptoviz.provider_status import BreakerState, IdsStatus, ScraperStatus
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.failures import failure
from cryptoviz.records import FallbackReason, TickResult
from cryptoviz.settings import Settings
from cryptoviz.telemetry.log_files import log_to_file
from cryptoviz.telemetry.tracing import flush_spans, start_tracing

__all__ = ["ScraperActor"]


class ScraperActor:
    """A component (see `cryptoviz.components.ComponentActor`); its Ray name is `scraper/<provider>`. It leads the provider's other scrapers.

    Args:
        collector: client of the collector; by default of the Ray actor `collector`.
        shards: clients of the provider's other scrapers, from shard 2 on; by default of their Ray actors.
    """

    def __init__(
        self, settings: Settings, provider: str, collector: CollectorClient | None = None, shards: Sequence[ShardClient] | None = None
    ) -> None:
        self._settings = settings
        self._name = provider
        self._collector = collector or RayCollectorClient(settings.ray.namespace)
        others = range(2, settings.provider(provider).scrapers + 1)
        self._shards = [RayShardClient(provider, number, settings.ray.namespace) for number in others] if shards is None else shards
        self._sharded: ShardedProvider | None = None
        self._clock = SystemClock()
        self._provider: BaseProvider | None = None
        self._scheduler: PollScheduler | None = None
        self._task: asyncio.Task[None] | None = None
        self._side_tasks: tuple[asyncio.Task[None], ...] = ()
        self._listing_check: ListingCheck | None = None
        self._protection: ProviderProtection | None = None
        self._publisher: Publisher | None = None
        self._sender: ResultSender | None = None
        configure_logging(settings.log_level, form=settings.log_format)

    async def start(self) -> None:
        """Start polling. No-op while running. Raises SettingsError for an unknown provider, or for a plan whose key is missing."""
        if self._task is not None:
            if not self._task.done() and self._publisher is not None and not self._publisher.ended:
                return
            await self.stop()
        settings, component = self._settings, scraper_name(self._name)
        log_to_file(settings, component)
        start_tracing(settings, component)
        own = settings.provider(self._name)
        exchanges_a_tick = cost_of(self._name, len(settings.assets), own.scrapers).calls
        self._publisher, recorder = raw_publisher(settings, self._name, 1, exchanges_a_tick)
        protection = build_protection(self._name, settings, self._clock)
        make = partial(build_provider, self._name, settings, self._clock, recorder, protection.limiter)
        self._provider = make()
        self._sharded = ShardedProvider(self._provider, make, self._shards, self._clock) if self._shards else None
        known = await protection.load()
        self._protection = protection
        self._sender = ResultSender(self._collector, settings.collect.tick_ms, self._clock)
        rules = PollRules(settings.collect.tick_ms, own.rate_limit_wait_s, own.max_wait_s, own.quota.max_wait_s)
        self._scheduler = PollScheduler(
            self._sharded or self._provider, settings.assets, rules, protection.hold_off, self._clock, self._deliver, protection.breaker, protection
        )
        kept = settings.run_dir / f"listing-{self._name}.json"
        self._listing_check = ListingCheck(self._provider, settings.assets, protection, own, self._clock, kept, settings.network)
        self._publisher.start()
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._scheduler.run(), name=component)
        self._side_tasks = (
            loop.create_task(self._look_up(self._provider, protection), name=f"{component} account"),
            loop.create_task(self._listing_check.run(), name=f"{component} ids"),
        )
        self._side_tasks[-1].add_done_callback(self._listing_check_ended)
        if not known:
            self._side_tasks += (loop.create_task(protection.load_late(self._clock), name=f"{component} states"),)

    async def stop(self) -> None:
        """Stop polling, deregister at the collector, and publish queued raw exchanges for up to `DRAIN_S`."""
        tasks = [task for task in (self._task, *self._side_tasks) if task is not None]
        self._task, self._side_tasks = None, ()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._protection is not None:
            await self._protection.aclose()
        if self._sender is not None:
            await self._sender.deregister(self._name)
        provider = self._sharded or self._provider
        if provider is not None:
            await provider.aclose()
        if self._publisher is not None:
            await asyncio.to_thread(self._publisher.close, DRAIN_S)
            await asyncio.to_thread(flush_spans)

    async def probe(self) -> Probe:
        """Healthy if a poll succeeded within the time of three turns, or if polls are suspended on purpose: hold, plan used up, breaker open.

        Degraded while polls are suspended for longer than that, or if responses lack fields that records use.
        """
        scheduler, publisher, sender, provider = self._scheduler, self._publisher, self._sender, self._provider
        if self._task is None or scheduler is None or publisher is None or sender is None or provider is None:
            return Probe(running=False, healthy=False, message="not started")
        if self._task.done() or publisher.ended:
            return Probe(running=False, healthy=False, message=publisher.stats.message or "the poll scheduler or its publisher ended")
        now, steady, stats, ids = self._clock.now_ms(), steady_ms(self._clock), scheduler.stats, self._ids()
        findings = provider.shape_watch.findings
        # Polls are suspended on purpose: shown to the operator, but a restart would not help.
        delivered = stats.last_good_poll_ms is not None
        held = "" if delivered and scheduler.fresh(now) else scheduler.waits(now)
        waiting = "" if delivered or stats.message else "no poll yet"
        why = stats.last_error if held and not delivered else ""  # the text of a wait does not contain its cause
        status = (held or stats.message or waiting, why, findings.message, ids.text(self._name))
        shards = self._sharded.note if self._sharded is not None else ""
        messages = (*status, shards, provider.note, sender.last_error, publisher.status_text)
        metrics = {
            "polls_total": float(stats.polls_total),
            FAILURES_METRIC: float(stats.failures_total),
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
            "results_delivered_total": float(sender.delivered_total),
            "results_undelivered_total": float(sender.undelivered_total),
            "unlisted_ids": float(len(ids.problems)),
            **findings.metrics,
        }
        if self._sharded is not None:
            metrics["absent_scrapers"] = float(len(self._sharded.away))
        if stats.last_poll_ms is not None:
            metrics["last_poll_age_s"] = (steady - stats.last_poll_ms) / 1000
        since_ms = stats.started_ms if stats.last_good_poll_ms is None else stats.last_good_poll_ms
        metrics |= {"last_good_poll_age_s": (steady - since_ms) / 1000, "turn_s": scheduler.turn_s}
        message = "; ".join(text for text in messages if text)
        # A breaker that has never seen a good response means that the provider was not reached yet: not degraded, but starting.
        imposed = bool(held) and (delivered or not self._only_broken())
        degraded = findings.degrading or imposed
        return Probe(True, scheduler.healthy(now), message, metrics, pid=os.getpid(), degraded=degraded, delivered=delivered)

    async def provider_status(self) -> ScraperStatus | None:
        """Status of the provider; None before the start."""
        protection, scheduler = self._protection, self._scheduler
        if protection is None or scheduler is None:
            return None
        now, stats = self._clock.now_ms(), scheduler.stats
        return ScraperStatus(
            breaker=protection.breaker_status(self._clock),
            quotas=protection.quotas(now, self._settings.collect.tick_ms),
            hold=protection.hold(self._clock),
            rate=protection.rate,
            latency_ms=stats.latency_ms if stats.polls_total else None,
            last_good_ms=self._utc(stats.last_good_poll_ms),
            last_error=stats.last_error,
            last_error_ms=self._utc(stats.last_error_ms),
            ids=self._ids(),
        )

    async def permit(self, tick_ts: int) -> None:
        """Called by the provider's other scrapers before each HTTP call: wait until it is allowed, and count it.

        Raises:
            ProviderFailure: as `ProviderLimiter.acquire`, or the poll of that tick is over.
        """
        if self._protection is None or self._sharded is None or not self._sharded.permits(tick_ts):
            raise failure(self._name, FallbackReason.TIMEOUT, "the poll of this tick is over")
        await self._protection.limiter.acquire()

    async def observe(self, headers: Mapping[str, str]) -> None:
        """Called by the provider's other scrapers: usage headers of a response."""
        if self._protection is not None:
            self._protection.limiter.observe(200, headers)

    def _utc(self, moment_ms: int | None) -> int | None:
        return None if moment_ms is None else utc_ms(self._clock, moment_ms)

    async def trip_breaker(self, reason: str) -> ScraperStatus | None:
        """The operator opens the breaker; it stays open until reset. None before the start."""
        if self._protection is not None:
            self._protection.breaker.trip(reason, steady_ms(self._clock))
        return await self.provider_status()

    async def reset_breaker(self) -> ScraperStatus | None:
        """The operator closes the breaker and lifts a wait that the provider imposed. None before the start."""
        if self._protection is not None:
            self._protection.breaker.reset(steady_ms(self._clock))
            self._protection.hold_off.lift()
        return await self.provider_status()

    def _only_broken(self) -> bool:
        protection = self._protection
        if protection is None or protection.hold(self._clock) is not None:
            return False
        breaker = protection.breaker.status()
        return breaker.state is not BreakerState.CLOSED and not breaker.by_operator

    def _ids(self) -> IdsStatus:
        return self._listing_check.status if self._listing_check is not None else IdsStatus()

    def _listing_check_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # `listed()` of a third-party provider raised; unlisted ids are still found from poll responses.
            get_logger(scraper_name(self._name)).error("id_check_failed", error=repr(error))

    def _deliver(self, result: TickResult) -> None:
        if self._sender is not None:
            self._sender.deliver(result)
        if result.observations and self._listing_check is not None:
            self._listing_check.polled()

    async def _look_up(self, provider: BaseProvider, protection: ProviderProtection) -> None:
        every_s = self._settings.provider(self._name).quota.look_up_s
        while True:
            try:
                await look_up_account(provider, protection, self._settings, self._clock)
            except Exception:  # noqa: BLE001 (account limits are optional: without them the configured plan applies)
                get_logger(scraper_name(self._name)).exception("account_look_up_failed")
            await self._clock.sleep(every_s)
