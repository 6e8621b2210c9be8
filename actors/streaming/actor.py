"""Stream actor: records each trade of some instruments of one venue in Kafka, once, and knows which are missing."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from actors.fetching.hold_off import Limiter, MinIntervalLimiter
from actors.protection.provider_protection import ProviderProtection, build_protection
from actors.publishing.kafka_transport import KafkaTransport, PublishedTransactions
from actors.publishing.publisher import Publisher
from actors.publishing.transaction import KafkaTransaction, Refused
from actors.streaming.candle_sampler import CandleSampler
from actors.streaming.connection import Connection
from actors.streaming.core import TRANSACTION_TRADES, InstrumentFeed, StreamCore
from actors.streaming.frame_producer import FrameProducer
from actors.streaming.frame_recorder import FrameRecorder
from actors.streaming.lane import Lane, LaneRules
from actors.streaming.publisher_events import PublisherEventsInLoop
from actors.streaming.quote_sampler import QuoteSampler
from actors.streaming.quote_snapshot import QuoteSnapshot
from actors.streaming.recovery import committed_states
from actors.streaming.refill import MAX_WAIT_S, Refiller
from actors.streaming.socket import OpenSocket, open_socket
from cryptoviz.clock import Clock, SystemClock
from cryptoviz.components import PER_INSTRUMENT, Probe, stream_name
from cryptoviz.errors import EngineUnavailable, FrameError
from cryptoviz.kafka import producer_id
from cryptoviz.log import configure_logging, get_logger
from cryptoviz.security.tls import trust
from cryptoviz.settings import KafkaSettings, Settings
from cryptoviz.telemetry.log_files import log_to_file
from cryptoviz.venues.base import StreamVenue
from cryptoviz.venues.events import Acked, Heartbeat, Quote, Trades
from cryptoviz.venues.events import Refused as SymbolRefused
from cryptoviz.venues.registry import venue_of
from cryptoviz.venues.spec import Channel, Instrument

__all__ = ["StreamActor", "instruments_of", "transactional_id"]

DRAIN_S = 5.0
"""Maximum time to publish what has arrived, on stop. The rest is refilled after the next start."""
_TOGETHER = 8
_WAITING = 4
"""Transactions that wait for Kafka before further trades are gathered into one."""
_RECOVERY_WAIT_S = 2.0
_RATE_S = 10.0
_LOST_S = 180.0
"""A stream without connection and trades for this time is replaced."""
_GAP_SHOWN_S = 60.0

log = get_logger("stream")


def instruments_of(venue: StreamVenue, settings: Settings, shard: int) -> list[Instrument]:
    """The instruments that a shard of the venue records, of those that the settings choose and the venue has."""
    chosen = settings.find_assets(settings.streams.instruments) if settings.streams.instruments else settings.assets
    found = [one for asset in chosen if (one := venue.spec.instrument(asset.asset_id)) is not None]
    return found[shard :: settings.streams.shards]


def transactional_id(kafka: KafkaSettings, venue: str, shard: int) -> str:
    """Of a shard's producer: a successor fences it."""
    return producer_id(f"stream-{venue}-{shard}", kafka.trades_topic)


class StreamActor:
    """A component (see `cryptoviz.components.ComponentActor`); its Ray name is `stream/<venue>`, of further shards `stream/<venue>-<n>`.

    Args:
        venue: its name.
        shard: which of the instruments (`instruments_of`).
    """

    def __init__(self, settings: Settings, venue: str, shard: int = 0) -> None:
        self._settings = settings
        self._name = venue
        self._shard = shard
        self._clock: Clock = SystemClock()
        self._main: asyncio.Task[None] | None = None
        self._venue: StreamVenue | None = None
        self._core: StreamCore | None = None
        self._publisher: Publisher | None = None
        self._refiller: Refiller | None = None
        self._quotes = QuoteSampler(venue, (), "", self._clock)
        self._snapshot = QuoteSnapshot(settings.redis, settings.ray.namespace, self._clock)
        self._recorder: FrameRecorder | None = None
        self._protection: ProviderProtection | None = None
        self._lanes: Sequence[Lane] = ()
        self._gate = asyncio.Event()
        self._ready = asyncio.Event()
        self._step = ""
        self._offered = self._acknowledged = self._records_refused = self._bad_frames = self._pauses = 0
        self._since: dict[str, float] = {}
        self._latency_ms: float | None = None
        self._rates: deque[tuple[float, int]] = deque()
        configure_logging(settings.log_level, form=settings.log_format)

    async def start(self) -> None:
        """Begin, and return at once. No-op while running. Raises SettingsError for an unknown venue."""
        if self._main is not None:
            if not self._main.done() and self._publisher is not None and not self._publisher.ended:
                return
            await self.stop()
        settings, component = self._settings, stream_name(self._name, self._shard)
        log_to_file(settings, component)
        venue = self._venue = venue_of(self._name)
        self._gate.set()
        self._ready.clear()
        self._offered = self._acknowledged = 0
        instruments, kafka = instruments_of(venue, settings, self._shard), settings.kafka
        self._core = StreamCore(venue.spec, instruments, self._clock, utc_us)
        quoted = instruments if settings.streams.quotes and Channel.QUOTES in venue.spec.channels else ()
        self._quotes = QuoteSampler(self._name, quoted, kafka.quotes_topic, self._clock)
        self._snapshot = QuoteSnapshot(settings.redis, settings.ray.namespace, self._clock)
        if settings.streams.raw_frames:
            frames = FrameProducer(kafka, self._name, self._clock)
            self._recorder = FrameRecorder(self._name, settings.streams.raw, settings.streams.raw_sample_min, frames)
        transport = KafkaTransport(
            kafka, kafka.trades_topic, transactional_id(kafka, self._name, self._shard), PublishedTransactions(),
            audit_topic=kafka.trade_gaps_topic, also=(kafka.venue_candles_topic, *((kafka.quotes_topic,) if quoted else ())),
        )  # fmt: skip
        # Without a limit of its own: the gate bounds it by trades, and nothing may be dropped.
        self._publisher = Publisher(component, transport, 2**31, PublisherEventsInLoop(asyncio.get_running_loop(), self), together=_TOGETHER)
        self._publisher.start()
        self._main = asyncio.get_running_loop().create_task(self._run(venue, self._core), name=component)

    async def stop(self) -> None:
        """Close the connections, and publish what has arrived for up to `DRAIN_S`."""
        main, self._main = self._main, None
        if main is not None:
            main.cancel()
            await asyncio.gather(main, return_exceptions=True)
        if self._publisher is not None:
            self._flush()
            frames = () if self._recorder is None else (asyncio.to_thread(self._recorder.close, DRAIN_S),)
            await asyncio.gather(asyncio.to_thread(self._publisher.close, DRAIN_S), *frames)
        if self._protection is not None:
            await self._protection.aclose()
        self._protection = None

    async def _run(self, venue: StreamVenue, core: StreamCore) -> None:
        self._step = "waits for Kafka"
        await self._ready.wait()
        self._step = "reads the end of the topic of trades"
        await self._recover(core)
        self._step = ""
        own, limits = self._settings.streams, venue.spec.limits
        feeds = list(core.feeds.values())
        size = limits.symbols_per_connection
        rules = LaneRules(limits, own.silent_s, own.max_back_off_s)
        self._lanes = tuple(
            Lane([feed.instrument for feed in feeds[start : start + size]], self._connection, self._gate, rules, self._clock)
            for start in range(0, len(feeds), size)
        )
        limiter, before = self._limits(venue)
        address = self._settings.streams.venue.get(self._name)
        root = str(address.refill_url) if address else ""
        instruments, topic = [feed.instrument for feed in feeds], self._settings.kafka.venue_candles_topic
        sampler = CandleSampler(venue, instruments, topic, own.check_s, self._clock, utc_us)
        refiller = self._refiller = Refiller(venue, root, core, limiter, self._settings, self._clock, utc_us, self._gate, before, sampler)
        try:
            async with asyncio.TaskGroup() as tasks:
                for lane in self._lanes:
                    tasks.create_task(lane.run())
                tasks.create_task(refiller.run())
                tasks.create_task(self._flush_often())
                if self._quotes.on:
                    tasks.create_task(self._record_quotes(core))
                    tasks.create_task(self._snapshot.run())
                if self._recorder is not None:
                    tasks.create_task(self._recorder.run(self._clock))
        finally:
            await refiller.aclose()

    async def _recover(self, core: StreamCore) -> None:
        while True:
            try:
                core.restore(await asyncio.to_thread(committed_states, self._settings.kafka, self._name, tuple(core.feeds)))
            except EngineUnavailable as error:
                log.warning("recovery_failed", venue=self._name, reason=error.message)
                await self._clock.sleep(_RECOVERY_WAIT_S)
            else:
                log.info("recovered", venue=self._name, instruments=len(core.feeds), open_gaps=core.open_gaps())
                return

    def _limits(self, venue: StreamVenue) -> tuple[Limiter, Callable[[], Awaitable[object]]]:
        """The limiter of refills: that of the venue's price provider, whose limits are the same, if it has one."""
        refill = venue.spec.refill
        if not refill.shares:
            return MinIntervalLimiter(refill.min_interval_s, self._clock), _nothing
        protection = self._protection = build_protection(refill.shares, self._settings, self._clock)
        return protection.limiter.weighing(refill.weight, MAX_WAIT_S), protection.load_hold

    def _connection(self, instruments: Sequence[Instrument]) -> Connection:
        assert self._venue is not None  # noqa: S101 - set by `start`
        address = self._settings.streams.venue.get(self._name)
        url = str(address.stream_url) if address else ""
        channels = (Channel.TRADES, Channel.QUOTES) if self._quotes.on else (Channel.TRADES,)
        timeout_s = self._settings.streams.connect_timeout_s
        return Connection(self._venue, instruments, url, self._open_socket(), self, self._clock, utc_us, timeout_s, channels, self._recorder)

    def _open_socket(self) -> OpenSocket:
        return partial(open_socket, trust=trust(self._settings.network.ca_file))

    # `Listener`

    def trades(self, event: Trades) -> None:
        if self._core is not None:
            self._core.streamed(event)
            if self._core.pending >= TRANSACTION_TRADES:
                self._flush()

    def quote(self, event: Quote) -> None:
        self._quotes.take(event)

    def heartbeat(self, event: Heartbeat) -> None:
        if self._core is not None:
            self._core.beat(event)

    def acked(self, event: Acked) -> None:
        if event.channel == Channel.QUOTES:
            self._quotes.acked(event.symbol)
        elif (feed := self._feed(event.symbol)) is not None:
            feed.acked, feed.refusal = True, ""

    def refused(self, event: SymbolRefused) -> None:
        log.error("symbol_refused", venue=self._name, symbol=event.symbol, channel=event.channel, reason=event.reason[:200])
        if event.channel == Channel.QUOTES:
            self._quotes.refused(event)
        elif (feed := self._feed(event.symbol)) is not None:
            feed.acked, feed.refusal = False, event.reason[:200] or "refused"

    def bad_frame(self, error: FrameError) -> None:
        self._bad_frames += 1
        if error.reason != "quote" or self._quotes.bad():
            log.warning("bad_frame", venue=self._name, reason=error.message)

    def ended(self, connection: Connection) -> None:
        del connection

    def _feed(self, symbol: str) -> InstrumentFeed | None:
        return self._core.feeds.get(symbol) if self._core is not None else None

    # From the publisher

    def kafka_connected(self) -> None:
        """Earlier producers are fenced, so that what they have published does not change any more."""
        self._ready.set()

    def acknowledged(self, transaction: KafkaTransaction, at_s: float) -> None:
        """Kafka has the transaction."""
        self._quotes.acknowledged(transaction)
        self._acknowledged += len(transaction.messages)
        began = [self._since.pop(identity) for identity in (*transaction.merged, transaction.identity) if identity in self._since]
        if began:
            self._latency_ms = round((at_s - min(began)) * 1000, 1)
        self._check_gate()

    def record_refused(self, refused: Refused) -> None:
        """Kafka refuses a record permanently; the publisher has logged it. Of a change of a gap nothing waits."""
        self._records_refused += 1
        self._quotes.lost(refused.message)
        if refused.message.value.startswith(b'{"trade_key"'):
            self._acknowledged += 1

    @property
    def _queued(self) -> int:
        return self._offered - self._acknowledged + (self._core.pending if self._core is not None else 0)

    async def _flush_often(self) -> None:
        every_s = self._settings.streams.publish_ms / 1000
        while True:
            await self._clock.sleep(every_s)
            if self._publisher is not None and self._publisher.stats.queue < _WAITING:
                self._flush()
            self._check_gate()

    async def _record_quotes(self, core: StreamCore) -> None:
        while True:
            await self._clock.sleep(self._settings.streams.quote_s)
            records = self._quotes.sample()
            core.record(self._quotes.messages(records))
            self._snapshot.put(records)

    def _flush(self) -> None:
        core, publisher = self._core, self._publisher
        if core is None or publisher is None or not core.has_news:
            return
        since_s = core.since_s
        transaction = core.take_transaction()
        if transaction is not None:
            self._offered += len(transaction.messages)
            if transaction.messages:
                self._since[transaction.identity] = since_s
            publisher.offer(transaction)

    def _check_gate(self) -> None:
        limit = self._settings.streams.queue_trades
        if self._gate.is_set() and self._queued > limit:
            self._pauses += 1
            log.warning("stream_paused", venue=self._name, queued=self._queued, limit=limit)
            self._gate.clear()
        elif not self._gate.is_set() and self._queued <= limit // 2:
            self._gate.set()

    async def probe(self) -> Probe:
        """Degraded while something is missing that time or people must mend; unhealthy after three minutes without connection and trades."""
        core, publisher, main = self._core, self._publisher, self._main
        if main is None or core is None or publisher is None:
            return Probe(running=False, healthy=False, message="not started")
        if main.done() or publisher.ended:
            why = repr(main.exception()) if main.done() and not main.cancelled() and main.exception() else ""
            return Probe(running=False, healthy=False, message=publisher.stats.message or why or "the stream ended")
        now = self._clock.monotonic_s()
        metrics = self._metrics(core, publisher, now)
        problems = self._problems(core, publisher)
        connected = bool(self._lanes) and all(lane.connected for lane in self._lanes)
        ages = [now - feed.data_s for feed in core.feeds.values() if feed.data_s is not None]
        lost = bool(self._lanes) and not any(lane.connected for lane in self._lanes) and self._gate.is_set() and min(ages, default=0.0) > _LOST_S
        delivered = self._acknowledged > 0 or connected
        message = "; ".join(problems) or self._step or (f"{len(core.feeds)} instruments" if connected else "connecting")
        return Probe(True, not lost, message, metrics, pid=os.getpid(), degraded=bool(problems) and delivered, delivered=delivered)

    def _problems(self, core: StreamCore, publisher: Publisher) -> list[str]:
        found = [f"{feed.instrument.symbol} is refused: {feed.refusal}" for feed in core.feeds.values() if feed.refusal]
        found += self._quotes.problems()
        for lane in self._lanes:
            if lane.current is not None and lane.current.unacked:
                found.append(f"not acknowledged: {', '.join(lane.current.unacked[:5])}")
            if not lane.connected and self._gate.is_set() and lane.last_failure:
                found.append(lane.last_failure)
        if not self._gate.is_set():
            found.append(f"closed until Kafka has taken {self._queued} trades")
        before_us = utc_us() - round(_GAP_SHOWN_S * 1e6)
        old = sum(run.run.size for runs in core.missing().values() for run in runs if run.opened_us < before_us)
        if old:
            why = f": {self._refiller.last_error}" if self._refiller is not None and self._refiller.last_error else ""
            found.append(f"{old} trades are missing for more than {_GAP_SHOWN_S:.0f} s{why}")
        if publisher.status_text:
            found.append(publisher.status_text)
        return found

    def _metrics(self, core: StreamCore, publisher: Publisher, now: float) -> dict[str, float]:
        stats = core.stats
        self._rates.append((now, stats.trades))
        while now - self._rates[0][0] > _RATE_S and len(self._rates) > 2:
            self._rates.popleft()
        (began, before), elapsed = self._rates[0], now - self._rates[0][0]
        metrics = {
            "connected": float(sum(lane.connected for lane in self._lanes)),
            "connections": float(len(self._lanes)),
            "instruments": float(len(core.feeds)),
            "instruments_acked": float(sum(feed.acked for feed in core.feeds.values())),
            "trades_total": float(stats.trades),
            "trades_per_s": round((stats.trades - before) / elapsed, 1) if elapsed > 0 and now > began else 0.0,
            "published_total": float(self._acknowledged),
            "refilled_total": float(stats.refilled),
            "duplicates_dropped_total": float(stats.duplicates),
            "gaps_open": float(core.open_gaps()),
            "missing_trades": float(core.missing_trades()),
            "reconnects_total": float(sum(lane.reconnects for lane in self._lanes)),
            "bad_frames_total": float(self._bad_frames),
            "pauses_total": float(self._pauses),
            "queue_trades": float(self._queued),
            "refill_calls_total": float(self._refiller.calls if self._refiller is not None else 0),
            "refused_records_total": float(self._records_refused),
            "publish_failures_total": float(publisher.stats.failures_total),
        }
        if self._latency_ms is not None:
            metrics["publish_latency_ms"] = self._latency_ms
        if self._quotes.on:
            metrics |= self._quotes.metrics() | {"quote_snapshot_failures_total": float(self._snapshot.failures_total)}
        if self._recorder is not None:
            metrics |= self._recorder.metrics()
        for feed in core.feeds.values():
            if feed.data_s is not None:
                metrics[f"data_age_s{PER_INSTRUMENT}{feed.instrument.symbol}"] = round(now - feed.data_s, 1)
        return metrics


def utc_us() -> int:
    """UTC epoch microseconds."""
    return time.time_ns() // 1_000


async def _nothing() -> None:
    return None
