"""Shard actor: polls a part of a provider's coins whenever the leading scraper asks, and records the raw exchanges in Kafka.

It makes no decisions: turns, rate limit, quota, hold and breaker are the leading scraper's, which also sends the results to the collector.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

from actors.fetching.build import build_provider
from actors.publishing.publisher import Publisher
from actors.scraping.raw_publisher import DRAIN_S, raw_publisher
from actors.scraping.shard_calls import LeadClient, LeadLimiter, RayLeadClient, ShardAnswer, ShardIdle, polling
from actors.scraping.sharded_provider import BUDGET_SHARE
from cryptoviz.clock import Clock, SystemClock, steady_ms
from cryptoviz.components import FAILURES_METRIC, FRESH_TICKS, Probe
from cryptoviz.log import configure_logging, get_logger, log_context
from cryptoviz.plans import cost_of
from cryptoviz.providers.base import BaseProvider
from cryptoviz.records import TickResult
from cryptoviz.settings import Settings
from cryptoviz.shards import shard_assets, shard_name
from cryptoviz.telemetry.log_files import log_to_file
from cryptoviz.telemetry.trace_context import Value
from cryptoviz.telemetry.tracing import flush_spans, span, start_tracing, tick_context

__all__ = ["ShardActor"]


class ShardActor:
    """A component (see `cryptoviz.components.ComponentActor`); its Ray name is `scraper/<provider>/<number>`, from 2 on.

    Args:
        lead: client of the leading scraper; by default of the Ray actor `scraper/<provider>`.
    """

    def __init__(self, settings: Settings, provider: str, number: int, lead: LeadClient | None = None, clock: Clock | None = None) -> None:
        self._settings = settings
        self._name = provider
        self._number = number
        self._component = shard_name(provider, number)
        self._lead = lead or RayLeadClient(provider, settings.ray.namespace)
        self._clock = clock or SystemClock()
        self._assets = shard_assets(settings.assets, number, settings.provider(provider).scrapers)
        self._provider: BaseProvider | None = None
        self._publisher: Publisher | None = None
        self._polls = _Polls()
        configure_logging(settings.log_level, form=settings.log_format)

    async def start(self) -> None:
        """Accept polls. No-op while running. Raises SettingsError for an unknown provider, or for a plan whose key is missing."""
        if self._publisher is not None:
            if not self._publisher.ended:
                return
            await self.stop()
        settings = self._settings
        log_to_file(settings, self._component)
        start_tracing(settings, self._component)
        self._polls = _Polls()
        publisher, recorder = raw_publisher(settings, self._name, self._number, cost_of(self._name, len(self._assets)).calls)
        limiter = LeadLimiter(self._name, self._lead, settings.collect.tick_s)
        self._provider = build_provider(self._name, settings, self._clock, recorder, limiter)
        self._publisher = publisher
        publisher.start()

    async def stop(self) -> None:
        """Refuse polls, and publish queued raw exchanges for up to `DRAIN_S`."""
        provider, self._provider = self._provider, None
        publisher, self._publisher = self._publisher, None
        if provider is not None:
            await provider.aclose()
        if publisher is not None:
            await asyncio.to_thread(publisher.close, DRAIN_S)
            await asyncio.to_thread(flush_spans)

    async def is_ready(self) -> bool:
        """Whether polls are accepted."""
        return self._provider is not None

    async def poll_shard(self, tick_ts: int, budget_s: float) -> ShardAnswer:
        """Poll this shard's coins once. Raises ShardIdle before the start and after the stop."""
        provider = self._provider
        if provider is None:
            raise ShardIdle("it is not started", component=self._component)
        known: dict[str, Value] = {"cryptoviz.tick_ts": tick_ts, "cryptoviz.provider": self._name}
        with polling(tick_ts), log_context(tick_ts=tick_ts), span("poll", known, parent=tick_context(tick_ts)) as poll:
            started_ms = steady_ms(self._clock)
            result = await provider.poll(tick_ts, self._assets, BUDGET_SHARE * budget_s)
            result = replace(result, traceparent=poll.context)
        listed = [asset for asset in self._assets if provider.id_of(asset) is not None]
        self._polls.count(result, bool(listed), started_ms, steady_ms(self._clock))
        if result.failure is not None:
            get_logger(self._component).warning("shard_failed", reason=result.failure.value, message=result.message)
        return ShardAnswer(result, provider.ids_of(listed), provider.ids.left_out)

    async def probe(self) -> Probe:
        """Unhealthy if its polls of the last three ticks failed. Healthy without polls: the leading scraper says why there are none."""
        provider, publisher, polls = self._provider, self._publisher, self._polls
        if provider is None or publisher is None:
            return Probe(running=False, healthy=False, message="not started")
        if publisher.ended:
            return Probe(running=False, healthy=False, message=publisher.stats.message or "its publisher ended")
        findings, now_ms = provider.shape_watch.findings, steady_ms(self._clock)
        lead = shard_name(self._name, 1)
        idle = "" if polls.total else f"no poll requested yet by {lead}"
        metrics = {
            "polls_total": float(polls.total),
            FAILURES_METRIC: float(polls.failures),
            "consecutive_failures": float(polls.failures_in_a_row),
            "latency_ms": polls.latency_ms,
            "raw_published_total": float(publisher.stats.records_total),
            "raw_dropped_total": float(publisher.stats.dropped_total),
            "raw_refused_total": float(publisher.stats.refused_total),
            "raw_queue": float(publisher.stats.queue),
            **findings.metrics,
        }
        if polls.last_ms is not None:
            metrics["last_poll_age_s"] = (now_ms - polls.last_ms) / 1000
        if polls.last_good_ms is not None and polls.failures_in_a_row:
            # Without a failure it was not asked, which is not its fault.
            metrics |= {"last_good_poll_age_s": (now_ms - polls.last_good_ms) / 1000, "turn_s": self._settings.collect.tick_s}
        message = "; ".join(text for text in (idle, polls.message, findings.message, provider.note, publisher.status_text) if text)
        healthy = polls.failures_in_a_row < FRESH_TICKS or now_ms - (polls.last_ms or 0) > FRESH_TICKS * self._settings.collect.tick_ms
        # It serves from its start on. Were it to wait for a first good poll, it would be STARTING for as long as the leading scraper asks for none.
        return Probe(True, healthy, message, metrics, pid=os.getpid(), degraded=findings.degrading)


class _Polls:
    """Counts for the probe. Times are ms of the monotonic clock."""

    def __init__(self) -> None:
        self.total = self.failures = self.failures_in_a_row = 0
        self.latency_ms = 0.0
        self.last_ms: int | None = None
        self.last_good_ms: int | None = None
        self.message = ""

    def count(self, result: TickResult, listed: bool, started_ms: int, now_ms: int) -> None:
        """`listed`: whether the provider has any of the coins; without, a poll makes no call and cannot fail."""
        self.total += 1
        self.last_ms, self.latency_ms = now_ms, float(now_ms - started_ms)
        if result.failure is None and (result.observations or not listed):
            self.last_good_ms, self.failures_in_a_row = now_ms, 0
            self.message = "" if listed else f"{result.provider} lists none of its coins"
        else:
            self.failures, self.failures_in_a_row = self.failures + 1, self.failures_in_a_row + 1
            self.message = result.message or "no coin had a price"
