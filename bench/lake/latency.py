"""Latency from append in Kafka to readable through the Delta log, at steady rates."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.lake.commits import commits, latencies_ms, record_times
from bench.lake.environment import engines, lake_host
from bench.lake.feed import raw_beside, steady
from bench.lake.figures import Figure, Part
from bench.lake.position import wait_for
from bench.lake.records import records
from bench.lake.usage import Family
from bench.lake.variants import variant
from bench.lake.verify_summary import verdict
from tests.support.measure import spread
from tests.support.topics import ends_of

__all__ = ["Sizes", "latency"]

_AIM_P50_MS, _AIM_P95_MS = 600.0, 1200.0
_WARM_S = 15.0
_DRAIN_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """Records a second, and the duration of each rate."""

    rates: Sequence[int] = (100, 1_000, 10_000)
    seconds: float = 60.0
    variant: str = "in-use"
    raw_per_s: int = 0
    """Concurrent raw exchanges of 20 kB, like providers' responses before a tick's records."""


def latency(sizes: Sizes) -> Part:
    """One lake job; the rates one after the other, ten transactions a second."""
    windows: list[tuple[int, float, float, float]] = []
    with engines() as settings:
        with lake_host(settings, variant(sizes.variant)) as host, raw_beside(settings, sizes.raw_per_s):
            host.start()
            steady(settings, records(round(1000 * _WARM_S), "full", seed=1), 1000, _WARM_S)
            for rate in sizes.rates:
                wait_for(settings, ends_of(settings, settings.kafka.stream_topic), _DRAIN_TIMEOUT_S)
                family = Family()
                before, since = family.usage(), time.time() * 1000
                steady(settings, records(round(rate * sizes.seconds) + rate, "full", seed=rate), rate, sizes.seconds)
                until = time.time() * 1000
                cores = sum(family.usage().since(before).values()) / (until - since) * 1000
                windows.append((rate, since, until, cores))
            wait_for(settings, ends_of(settings, settings.kafka.stream_topic), _DRAIN_TIMEOUT_S)
        found, times = commits(settings), record_times(settings)
        proof = verdict(settings)
    figures = []
    for rate, since, until, cores in windows:
        of_rate = spread(latencies_ms(found, times, since, until))
        note = f"{of_rate.count} rows, p99 {of_rate.p99:.0f}, max {of_rate.most:.0f} ms; {cores:.2f} cores"
        name = f"{rate} records/s"
        figures.append(Figure(f"{name}, p50", round(of_rate.p50), "ms", f"<= {_AIM_P50_MS:.0f} ms", of_rate.p50 <= _AIM_P50_MS, note))
        figures.append(Figure(f"{name}, p95", round(of_rate.p95), "ms", f"<= {_AIM_P95_MS:.0f} ms", of_rate.p95 <= _AIM_P95_MS))
    return Part(
        name="latency",
        title="Append to readable" if sizes.variant == "in-use" else f"Append to readable, {sizes.variant}",
        sizes=f"each rate for {sizes.seconds:g} s, ten transactions a second, full records, default trigger of {settings.lake.trigger_ms} ms"
        + (f"; {sizes.raw_per_s} raw exchanges a second beside them" if sizes.raw_per_s else ""),
        figures=tuple(figures),
        verifier=proof,
    )
