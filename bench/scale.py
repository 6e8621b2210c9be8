"""How the system grows: arithmetic from measured costs, and a simulation of the lake's batches (`python -m bench.scale`, seconds).

Every cost below was measured (docs/performance.md) or is an assumption, which is said. The arithmetic gives cores, bytes and objects; the simulation
gives the time from a tick to its commit when records arrive in bursts, and when the lake was away.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from tests.support.measure import spread

DAY_S = 86_400


@dataclass(frozen=True)
class Costs:
    """Of one core of the machine of docs/performance.md. Sources: `make bench-collect` (C), `make bench-lake` (L); assumptions (A)."""

    parse_s: float = 89e-3 / 10_000
    """C: processor time of a provider's price in a response: 10 000 in 89 ms."""
    collect_s: float = 0.41 / 10_000
    """C: parse, choose and publish one asset of two providers; in one process, the collector."""
    decode_s: float = 9.8e-6
    """L: processor time of a record on its way from Kafka to Parquet, all processes."""
    commit_s: float = 0.25
    """L: least time of a batch, whatever its size: planning, upload, commit."""
    record_bytes: int = 780
    """L: a full record as JSON; 1.12 MB a day and coin at 1 440 records."""
    row_bytes: float = 73.2
    """L: a row of a compacted day."""
    raw_bytes: int = 700
    """A: raw body of one price in an exchange, before compression."""
    raw_ratio: float = 8.0
    """A: compression of raw bodies by Zstandard."""
    broker_bytes_s: float = 100e6
    """A: what a broker with a network of 10 Gbit/s and two replicas takes for good."""
    partition_records_s: float = 100_000.0
    """L: what one task decodes, with a margin of 2 on 204 000 records/s of two cores."""
    assets_a_call: int = 250
    """CoinGecko's largest page; exchanges send all pairs in a call."""
    merge_s_file: float = 4.6e-3
    """L: processor time of compaction a file."""


@dataclass(frozen=True)
class Prices:
    """Assumed list prices in USD: a core of a cloud machine with 4 GB, a GB of object and of block storage, each a month; a million PUT requests."""

    core_month: float = 30.0
    object_gb_month: float = 0.023
    block_gb_month: float = 0.08
    million_puts: float = 5.0


@dataclass(frozen=True)
class Load:
    """What is collected."""

    assets: int
    providers: int
    tick_s: float
    kafka_days: float = 7.0
    raw_days: float = 90.0
    batch_s: float = 1.0


@dataclass(frozen=True)
class Plan:
    """Steady state. Cores are of the measured machine; sizes are decimal. `collectors`: processes at 0.7 of a core each; today there is one."""

    records_s: float
    calls_s: float
    scraper_cores: float
    collectors: int
    kafka_mb_s: float
    kafka_gb: float
    brokers: int
    partitions: int
    executor_cores: float
    rows_a_day: float
    prices_gb_a_day: float
    raw_gb_a_day: float
    files_a_day: float
    merge_cores: float
    commits_a_day: float
    objects_a_year: float
    usd_a_month: float


_COSTS, _PRICES = Costs(), Prices()


def plan(load: Load, costs: Costs = _COSTS, prices: Prices = _PRICES) -> Plan:
    """The arithmetic. One record is written for each asset and tick, whatever the number of providers; the raw exchanges grow with both."""
    records_s = load.assets / load.tick_s
    results_s = records_s * load.providers
    calls_s = load.providers * math.ceil(load.assets / costs.assets_a_call) / load.tick_s
    collect_cores = records_s * costs.collect_s + results_s * costs.parse_s
    raw_mb_s = results_s * costs.raw_bytes / 1e6
    kafka_mb_s = records_s * costs.record_bytes / 1e6 + raw_mb_s
    partitions = max(2, math.ceil(2 * records_s / costs.partition_records_s))
    batches_a_day = DAY_S / max(load.batch_s, load.tick_s, costs.commit_s)
    files_a_day = batches_a_day * partitions
    days = 365
    kafka_gb = kafka_mb_s * DAY_S * load.kafka_days / 1000
    executor_cores = records_s * costs.decode_s + files_a_day / DAY_S * costs.commit_s / 10
    merge_cores = files_a_day * costs.merge_s_file / DAY_S
    raw_gb = raw_mb_s * DAY_S / 1000 / costs.raw_ratio
    prices_gb = records_s * DAY_S * costs.row_bytes / 1e9
    scraper_cores = results_s * costs.parse_s
    stored_gb = prices_gb * days + raw_gb * load.raw_days
    cores = scraper_cores + collect_cores + executor_cores + merge_cores + 2
    # Each batch writes a file for each partition and table, a log entry, and the progress; a merge rewrites each file once.
    puts_a_month = batches_a_day * 30 * (2 * partitions + 4)
    return Plan(
        records_s=records_s,
        calls_s=calls_s,
        scraper_cores=scraper_cores,
        collectors=max(1, math.ceil(collect_cores / 0.7)),
        kafka_mb_s=kafka_mb_s,
        kafka_gb=kafka_gb,
        brokers=max(1, math.ceil(kafka_mb_s * 1e6 / costs.broker_bytes_s)),
        partitions=partitions,
        executor_cores=executor_cores,
        rows_a_day=records_s * DAY_S,
        prices_gb_a_day=prices_gb,
        raw_gb_a_day=raw_gb,
        files_a_day=files_a_day,
        merge_cores=merge_cores,
        commits_a_day=batches_a_day * 2,
        # A closed day is one file a GB; log entries are kept for a day.
        objects_a_year=days * max(1.0, prices_gb) + files_a_day + batches_a_day,
        usd_a_month=cores * prices.core_month + stored_gb * prices.object_gb_month + kafka_gb * 2 * prices.block_gb_month
        + puts_a_month / 1e6 * prices.million_puts,
    )  # fmt: skip


@dataclass(frozen=True)
class Away:
    """An outage of the lake job."""

    begins_s: float
    lasts_s: float


def delays(load: Load, tasks: int, seconds: int, away: Away | None = None, costs: Costs = _COSTS, seed: int = 1) -> Iterator[float]:
    """Simulate the batches: time from each tick to the commit of its records, in s.

    Each tick brings all records at once, some late by the jitter of the providers. A batch takes what came, at most 400 000 records, and lasts
    for the fixed time of a batch, plus the decoding, which `tasks` do side by side.
    """
    chance = random.Random(seed)
    ticks = [number * load.tick_s for number in range(int(seconds / load.tick_s))]
    arrivals = sorted((tick + min(0.5 * load.tick_s, chance.expovariate(1 / 0.2)), tick) for tick in ticks)
    left = [(moment, tick, float(load.assets)) for moment, tick in arrivals]
    left.reverse()
    rate = tasks / costs.decode_s
    now = 0.0
    while left:
        now = max(now, left[-1][0])
        if away is not None and away.begins_s <= now < away.begins_s + away.lasts_s:
            now = away.begins_s + away.lasts_s
        room, taken = 400_000.0, []
        while left and left[-1][0] <= now and room > 0:
            moment, tick, records = left.pop()
            taken.append(tick)
            if records > room:
                left.append((moment, tick, records - room))
                taken.pop()
                records = room
            room -= records
        # The fixed time varies by a third around its mean.
        now += costs.commit_s * chance.uniform(0.67, 1.33) + (400_000.0 - room) / rate
        yield from (now - tick for tick in taken)


CASES = {
    "demo": Load(17, 2, 2.0),
    "default": Load(17, 6, 60.0),
    "1 000 x 10 x 10 s": Load(1_000, 10, 10.0),
    "10 000 x 20 x 1 s": Load(10_000, 20, 1.0),
    "100 000 x 50 x 1 s": Load(100_000, 50, 1.0, kafka_days=1.0, raw_days=7.0),
}


_AWAY = Away(600, 600)


def main() -> None:
    """Print the tables of docs/scale.md."""
    arguments = argparse.ArgumentParser(prog="python -m bench.scale", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    plans = {name: asdict(plan(load)) for name, load in CASES.items()}
    if given.json:
        sys.stdout.write(json.dumps(plans, indent=1) + "\n")
        return
    print("| figure |", " | ".join(plans), "|")
    print("|---|" + "---|" * len(plans))
    for field in plans["demo"]:
        print(f"| {_NAMES[field]} |", " | ".join(_number(one[field]) for one in plans.values()), "|")
    print("\n| case | tasks | p50, s | p95, s | after 10 min away: largest, s | caught up within, s |\n|---|---|---|---|---|---|")
    for name, load in CASES.items():
        need = math.ceil(plan(load).executor_cores)
        for tasks in sorted({max(1, need), max(2, 2 * need)}):
            usual = spread(list(delays(load, tasks, 1_800)))
            late = list(delays(load, tasks, 5_400, _AWAY))
            print(f"| {name} | {tasks} | {usual.p50:.2f} | {usual.p95:.2f} | {max(late):.0f} | {_caught_up(load, late, 2 * usual.p95)} |")


def _caught_up(load: Load, late: list[float], enough_s: float) -> str:
    """Time after the outage until a tick is committed within `enough_s`; '-' if never. `late`: the delay of each tick."""
    end_s = _AWAY.begins_s + _AWAY.lasts_s
    for number, delay in enumerate(late):
        committed_s = number * load.tick_s + delay
        if committed_s > end_s and delay <= enough_s:
            return f"{committed_s - end_s:.0f}"
    return "-"


_NAMES = {
    "records_s": "records a second",
    "calls_s": "calls of providers a second",
    "scraper_cores": "scrapers, cores",
    "collectors": "collectors needed (there is one)",
    "kafka_mb_s": "into Kafka, MB/s",
    "kafka_gb": "kept in Kafka, GB",
    "brokers": "brokers",
    "partitions": "partitions of the prices",
    "executor_cores": "executors, cores",
    "rows_a_day": "rows a day",
    "prices_gb_a_day": "prices, GB a day",
    "raw_gb_a_day": "raw exchanges, GB a day",
    "files_a_day": "files of prices a day, before merges",
    "merge_cores": "merges, cores",
    "commits_a_day": "commits a day, both tables",
    "objects_a_year": "objects of prices after a year",
    "usd_a_month": "USD a month, on demand",
}


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
