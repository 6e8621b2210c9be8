"""17 assets, from the response to Kafka's acknowledgement: in one process, and over Ray."""

from __future__ import annotations

import threading
import time
from functools import partial

from actors.collecting.core import CollectorCore
from actors.publishing.kafka_transport import KafkaTransport, PublishedTicks
from actors.publishing.publisher import Publisher
from actors.publishing.transaction import KafkaTransaction, Refused
from bench.collect.bodies import assets, bodies
from bench.collect.hop import through_ray
from bench.collect.parsing import PARSERS, parse, parsed_at
from bench.collect.tick import TICK_MS, ticks, with_assets
from cryptoviz.settings import Settings
from tests.support.collection_fakes import FakeSnapshot
from tests.support.measure import spread
from tests.support.ray_cluster import ray_on

__all__ = ["acknowledgements", "acknowledgements_through_ray"]


class Acknowledged:
    """The publisher's events; `published` is called in its thread."""

    def __init__(self) -> None:
        self.done = threading.Event()

    def published(self, transaction: KafkaTransaction) -> None:
        """The broker has the tick."""
        del transaction
        self.done.set()

    def refused(self, transaction: KafkaTransaction, refused: Refused) -> None:
        """Never: the records are small."""
        raise SystemExit(f"{transaction.identity} was refused: {refused.reason}")

    def dropped(self, transaction: KafkaTransaction) -> None:
        """Never, with one tick at a time."""
        raise SystemExit(f"{transaction.identity} was dropped")

    def connected(self, last_tick_ts: int | None) -> None:
        """The first tick may go."""
        del last_tick_ts
        self.done.set()


def acknowledgements(base: Settings, count: int) -> dict[str, float]:
    """Milliseconds from two complete bodies to the broker's acknowledgement."""
    listed = assets(17)
    settings = with_assets(base, listed)
    found = bodies(17)
    ids = {name: {asset.provider_ids[name]: asset.asset_id for asset in listed} for name in PARSERS}
    events, clock = Acknowledged(), ticks()
    clock.advance(1000 * TICK_MS / 1000)
    publisher = Publisher("bench", KafkaTransport(settings.kafka, settings.kafka.stream_topic, "bench-ack", PublishedTicks()), 10, events)
    publisher.start()
    events.done.wait(30)
    core = CollectorCore(settings, clock, publisher, FakeSnapshot())
    took = []
    for _ in range(count):
        events.done.clear()
        begun = time.perf_counter()
        for name, parser in PARSERS.items():
            core.submit(parse(name, parser, found[name], ids[name], clock.now_ms(), clock.now_ms()))
        core.publish_due()
        if not events.done.wait(30):
            raise SystemExit("no acknowledgement within 30 s")
        took.append((time.perf_counter() - begun) * 1000)
        clock.advance(TICK_MS / 1000)
    publisher.close(5.0)
    return quantiles(took)


def acknowledgements_through_ray(base: Settings, count: int) -> dict[str, float]:
    """The same with Ray between scrapers and collector."""
    listed = assets(17)
    settings = with_assets(base, listed)
    found = bodies(17)
    ids = {name: {asset.provider_ids[name]: asset.asset_id for asset in listed} for name in PARSERS}
    # Behind the ticks of the other measurements in the topic.
    first_tick = ticks().now_ms() + 1_000_000 * TICK_MS
    made = {name: partial(parsed_at, name, found[name], ids[name]) for name in PARSERS}
    with ray_on(2, "cryptoviz-bench") as ray:
        return quantiles(through_ray(ray, settings, made, first_tick, TICK_MS, count))


def quantiles(took: list[float]) -> dict[str, float]:
    found = spread(took)
    return {"n": found.count, "p50": found.p50, "p95": found.p95, "p99": found.p99, "max": found.most}
