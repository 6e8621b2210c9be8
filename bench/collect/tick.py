"""A tick of 10 000 assets, step by step."""

from __future__ import annotations

import cProfile
import pstats
import statistics
import time

from actors.collecting.core import CollectorCore
from actors.publishing.kafka_transport import KafkaTransport, PublishedTicks
from actors.publishing.transaction import KafkaTransaction
from bench.collect.bodies import assets, bodies
from bench.collect.parsing import PARSERS, parse
from cryptoviz.assets import Asset
from cryptoviz.records import TickResult
from cryptoviz.settings import Settings, load_settings
from tests.support.clock import FakeClock, now_ms
from tests.support.collection_fakes import FakeSink, FakeSnapshot

__all__ = ["ASSETS", "TICK_MS", "ticks", "whole_tick", "with_assets"]

ASSETS = 10_000


TICK_MS = 60_000


def ticks() -> FakeClock:
    """A clock at the current tick; the benchmark advances it."""
    now = now_ms()
    return FakeClock(now - now % TICK_MS)


def collected(settings: Settings, clock: FakeClock, results: list[TickResult]) -> KafkaTransaction:
    sink = FakeSink()
    core = CollectorCore(settings, clock, sink, FakeSnapshot())
    for result in results:
        core.submit(result)
    core.publish_due()
    (transaction,) = sink.transactions
    return transaction


def with_assets(settings: Settings, listed: list[Asset]) -> Settings:
    extra = [{"asset_id": a.asset_id, "symbol": a.symbol, "name": a.name, "provider_ids": a.provider_ids} for a in listed]
    kafka_settings = settings.kafka.access()
    collect = {"providers": tuple(PARSERS)}
    return load_settings(home=settings.home, kafka=kafka_settings, collect=collect, extra_assets=extra, crypto_list=[a.asset_id for a in listed])


def whole_tick(base: Settings, rounds: int, *, profile: bool) -> dict[str, float]:
    """Median seconds of each step; `cpu` is this process' own time."""
    listed = assets(ASSETS)
    settings = with_assets(base, listed)
    found = bodies(ASSETS)
    ids = {name: {asset.provider_ids[name]: asset.asset_id for asset in listed} for name in PARSERS}
    transport = KafkaTransport(settings.kafka, settings.kafka.stream_topic, "bench-tick", PublishedTicks())
    transport.connect()
    steps: dict[str, list[float]] = {"parse": [], "collect": [], "publish": [], "tick": [], "cpu": []}
    clock = ticks()
    profiler = cProfile.Profile()
    for _ in range(rounds):
        clock.advance(TICK_MS / 1000)
        begun_cpu, begun = time.process_time(), time.perf_counter()
        if profile:
            profiler.enable()
        results = [parse(name, parser, found[name], ids[name], clock.now_ms(), clock.now_ms()) for name, parser in PARSERS.items()]
        parsed = time.perf_counter()
        transaction = collected(settings, clock, results)
        made = time.perf_counter()
        transport.publish(transaction)
        ended = time.perf_counter()
        profiler.disable()
        if len(transaction.messages) != ASSETS:
            raise SystemExit(f"{len(transaction.messages)} records instead of {ASSETS}")
        for name, value in (("parse", parsed - begun), ("collect", made - parsed), ("publish", ended - made), ("tick", ended - begun)):
            steps[name].append(value)
        steps["cpu"].append(time.process_time() - begun_cpu)
    transport.close()
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    return {name: statistics.median(values) for name, values in steps.items()} | {"slowest": max(steps["tick"]), "rounds": rounds}
