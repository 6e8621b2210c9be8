"""Trade streams under load (`make bench-streams`): 5 000 trades a second over 60 instruments, then a burst, with all engines on this machine.

The replay market, in a process of its own, is Binance with 60 instruments on one connection. The stream actor and the lake job (Spark) run on Ray,
with Kafka, the object store and Redis.

- lost, doubled: each trade that the market made between the first and the last recorded one of its instrument, against the rows of two readers of the
  lake, with its values; and the verifier, Kafka against the lake.
- arrival to acknowledgement: from the arrival of the oldest trade of a transaction, so an upper bound of each trade's; percentiles over trades.
- arrival to lake: the time stamp of the Delta commit that brought a row, less its `ingest_ts`; both clocks are this machine's.
- memory: sum of PSS (each shared page counted once) of all processes, by kind; the medians of the first and the last third of the series.
- processor time of the steady part, by kind of process.

Prints Markdown; `--json FILE` keeps the figures. Exit code 1 if a trade is lost, doubled or different, if the stream did not
keep up or absorb the burst, or memory grew.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.idle import kind_of
from bench.loaded_stream import VENUE, LoadedStream, Taken
from bench.stream_figures import Compared, MemorySeries, TradeValues, compare, per_million_s, weighted_percentile
from bench.stream_load import INSTRUMENTS, MarketProcess, coins, market_process
from bench.table_commits import table_commits
from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.lake.objects import S3Access, table_address
from cryptoviz.settings import Settings, claim_home, load_settings
from tests.support.engines import engine_sections, engines
from tests.support.lake_job import caught_up, host_lake
from tests.support.lake_readers import READERS
from tests.support.measure import load, machine, pss_mb, sum_by
from tests.support.ports import free_port
from tests.support.ray_cluster import ray_on
from tests.support.waiting import eventually

SAMPLE_S = 5.0
LEAST_S = 6 * SAMPLE_S
QUEUE_S = 0.2
USUAL_LOOKS = 10
BURST_TRADES = 50_000
ABSORBED_TRADES = 1_000
"""Trades that may wait for Kafka once a burst is absorbed: a fifth of a second of the usual rate, or as many as before it."""
ABSORB_S = 120.0
RETENTION_BYTES = 64 << 30
"""The default of 2 GiB is 20 minutes of trades."""
KEPT_UP = 0.99
"""Part of the trades asked for that must be acknowledged a second: the steady part begins and ends between two transactions."""
TARGETS = {"ack_p95_ms": 30.0, "lake_p95_ms": 1200.0}
"""Of the design."""


@dataclass
class Figures:
    """All that was measured. Milliseconds, seconds and MB by name."""

    asked_per_s: float = 0.0
    trades: int = 0
    trades_per_s: float = 0.0
    ack_ms: dict[str, float] = field(default_factory=dict)
    lake_ms: dict[str, float] = field(default_factory=dict)
    cpu_per_million_s: dict[str, float] = field(default_factory=dict)
    stream_cpu_per_million_s: float = 0.0
    memory_mb: dict[str, tuple[float, float]] = field(default_factory=dict)
    memory_series_mb: list[float] = field(default_factory=list)
    """Of all processes, every `SAMPLE_S`."""
    memory_flat: bool = False
    burst: dict[str, float] = field(default_factory=dict)
    absorbed: bool = False
    """The burst, in time."""
    readers: dict[str, Compared] = field(default_factory=dict)
    verified: bool = False
    stream: dict[str, float] = field(default_factory=dict)

    @property
    def kept_up(self) -> bool:
        return self.trades_per_s >= KEPT_UP * self.asked_per_s

    @property
    def good(self) -> bool:
        kept = self.verified and self.kept_up and self.memory_flat and self.absorbed
        return kept and bool(self.readers) and all(one.exact for one in self.readers.values())


@dataclass
class Processes:
    """This process' own children: engines, Ray, market."""

    market_pid: int
    memory: MemorySeries = field(default_factory=MemorySeries)

    def all(self) -> list[psutil.Process]:
        return psutil.Process().children(recursive=True)

    def kind(self, process: psutil.Process) -> str:
        return "market" if process.pid == self.market_pid else kind_of(process)

    def weigh(self) -> None:
        """Add a sample of memory."""
        self.memory.samples.append(sum_by(self.all(), self.kind, pss_mb))

    def cpu_s(self) -> Counter[str]:
        """Processor time since the start of the processes that run, by kind. Processes that end meanwhile take theirs with them."""

        def used(process: psutil.Process) -> float:
            times = process.cpu_times()
            return times.user + times.system

        return Counter(sum_by(self.all(), self.kind, used))


@contextmanager
def every(seconds: float, call: Callable[[], None]) -> Iterator[None]:
    """Call it so often in a thread, during the context."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(seconds):
            call()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)


@dataclass
class Rig:
    """What runs."""

    settings: Settings
    market: MarketProcess
    ray: Any
    stream: Any
    processes: Processes

    def take(self) -> Taken:
        found: Taken = self.ray.get(self.stream.taken.remote(), timeout=60)
        if "published_total" not in found.metrics:
            raise SystemExit(f"the stream has ended: {found.message}")
        return found


def settings_of(home: Path, market_port: int, quote_s: float) -> Settings:
    """Settings with the engines and the market on free ports, and all 60 instruments."""
    extra = [{"asset_id": one.asset_id, "symbol": one.symbol, "name": one.name, "provider_ids": one.provider_ids} for one in coins()]
    host = f"127.0.0.1:{market_port}/{VENUE}"
    streams = {
        "venues": (VENUE,), "venue": {VENUE: {"stream_url": f"ws://{host}", "refill_url": f"http://{host}"}}, "quote_s": quote_s,
        "instruments": [one.asset_id for one in DEFAULT_ASSETS] + [one.asset_id for one in coins()],
    }  # fmt: skip
    sections = engine_sections() | {"lake": {"ui_port": free_port()}, "streams": streams, "extra_assets": extra}
    sections["kafka"] = sections["kafka"] | {"retention_bytes": RETENTION_BYTES}
    return claim_home(load_settings(home=home, log_level="WARNING", providers={VENUE: {"base_url": f"http://{host}"}}, **sections))


@contextmanager
def rig(home: Path, per_s: float, quote_s: float) -> Iterator[tuple[Rig, Any]]:
    """Everything started, and the lake job."""
    port = free_port()
    settings = settings_of(home, port, quote_s)
    with (
        market_process(port, home / "market", per_s) as market,
        engines(settings, "kafka", "object-store", "redis"),
        ray_on(os.cpu_count() or 2, "cryptoviz-bench") as ray,
    ):
        lake = host_lake(ray, settings, max_restarts=0)
        lake.start()
        stream = ray.remote(LoadedStream).options(name="stream", num_cpus=0, max_restarts=0).remote(settings)
        ray.get(stream.start.remote(), timeout=60)
        yield Rig(settings, market, ray, stream, Processes(market.pid)), lake


def measure(home: Path, per_s: float, warm_s: float, seconds: float, quote_s: float) -> Figures:
    """Run all parts."""
    figures = Figures(asked_per_s=per_s)
    with rig(home, per_s, quote_s) as (one, lake):
        eventually(lambda: one.take().metrics["published_total"] > per_s, 120, 1.0)
        time.sleep(warm_s)  # caches fill, and JVMs compile
        arrived_us = steady(one, seconds, figures)
        print(f"{figures.trades} trades acknowledged, {figures.trades_per_s:,.0f} a second. Load: {load()}.", flush=True)
        burst(one, figures)
        one.ray.get(one.stream.stop.remote(), timeout=60)
        figures.verified = caught_up(one.settings, 300, topic=one.settings.kafka.trades_topic).ok
        lake.stop()
        figures.lake_ms = percentiles(lake_latencies_ms(one.settings, *arrived_us))
        for reader in READERS:
            figures.readers[reader.__name__] = compared(one.market, reader(one.settings, "trades", COLUMNS))
    return figures


def steady(one: Rig, seconds: float, figures: Figures) -> tuple[int, int]:
    """The usual rate for so long. Returns its begin and end, UTC epoch us."""
    before, cpu_s, begun_us, begun_s = one.take(), one.processes.cpu_s(), time.time_ns() // 1000, time.monotonic()
    with every(SAMPLE_S, one.processes.weigh):
        time.sleep(seconds)
    after, ended_us, took_s = one.take(), time.time_ns() // 1000, time.monotonic() - begun_s
    figures.trades = round(after.metrics["published_total"] - before.metrics["published_total"])
    figures.trades_per_s = figures.trades / took_s
    figures.ack_ms = weighted(after.acks)
    used = one.processes.cpu_s() - cpu_s
    figures.cpu_per_million_s = {kind: per_million_s(value, figures.trades) for kind, value in used.most_common()}
    figures.stream_cpu_per_million_s = per_million_s(after.cpu_s - before.cpu_s, figures.trades)
    memory = one.processes.memory
    figures.memory_mb = {"all": memory.thirds()} | {kind: memory.thirds(kind) for kind in memory.kinds()}
    figures.memory_flat, figures.memory_series_mb = memory.flat, memory.totals()
    figures.stream = after.metrics
    return begun_us, ended_us


def burst(one: Rig, figures: Figures) -> None:
    """`BURST_TRADES` in a second; until Kafka has all of them, or for `ABSORB_S`."""
    usual = float(ABSORBED_TRADES)
    for _ in range(USUAL_LOOKS):
        before = one.take().metrics
        usual = max(usual, before["queue_trades"])
        time.sleep(QUEUE_S)
    one.market.burst(BURST_TRADES)
    begun_s, acks, most_queued, absorbed = time.monotonic(), list[tuple[int, float]](), 0.0, False
    while not absorbed and time.monotonic() - begun_s < ABSORB_S:
        time.sleep(QUEUE_S)
        taken = one.take()
        acks.extend(taken.acks)
        queued, published = taken.metrics["queue_trades"], taken.metrics["published_total"] - before["published_total"]
        most_queued = max(most_queued, queued)
        absorbed = published > BURST_TRADES and queued <= usual and taken.metrics["gaps_open"] == 0
    figures.absorbed, after = absorbed, one.take().metrics
    figures.burst = {
        "absorbed_s": time.monotonic() - begun_s, "queued_before": usual, "most_queued": most_queued,
        "refilled": after["refilled_total"] - before["refilled_total"], "pauses": after["pauses_total"] - before["pauses_total"],
    } | {f"ack_{name}_ms": value for name, value in weighted(acks).items()}  # fmt: skip


COLUMNS = ("venue_symbol", "trade_number", "price", "size", "side", "venue_ts")


def compared(market: MarketProcess, rows: pa.Table) -> Compared:
    """The rows of a reader against the market's trades."""
    total = Compared()
    for symbol in market.symbols():
        own = rows.filter(pc.equal(rows.column("venue_symbol"), symbol))
        stored = list(stored_trades(own))
        numbers = [number for number, _ in stored]
        # an instrument without a row has lost all of them
        total.add(compare(stored, market.made(symbol, min(numbers), max(numbers))) if numbers else Compared(lost=1))
    return total


def stored_trades(rows: pa.Table) -> Iterator[tuple[int, TradeValues]]:
    """Number and values of each row."""
    times = rows.column("venue_ts").cast(pa.int64())
    names = ("trade_number", "price", "size", "side")
    columns = [rows.column(name).to_pylist() for name in names]
    for number, price, size, side, at_us in zip(*columns, times.to_pylist(), strict=True):
        yield number, (price, size, side, at_us)


def lake_latencies_ms(settings: Settings, begin_us: int, end_us: int) -> np.ndarray[Any, Any]:
    """From arrival to the commit, of each row that arrived in the range."""
    files, root = S3Access.of(settings.s3).filesystem(), table_address(settings.s3, "trades").root
    found = [np.empty(0)]
    for commit in table_commits(settings, "trades"):
        for path in commit["paths"]:
            arrived = pq.read_table(f"{root}/{path}", columns=["ingest_ts"], filesystem=files, partitioning=None).column("ingest_ts")
            arrived_us = arrived.cast(pa.int64()).to_numpy()
            inside = arrived_us[(arrived_us >= begin_us) & (arrived_us < end_us)]
            found.append(commit["timestamp"] - inside / 1000)
    return np.concatenate(found)


def percentiles(values: np.ndarray[Any, Any]) -> dict[str, float]:
    """p50, p95, p99 and the maximum."""
    cuts = np.percentile(values, [50, 95, 99, 100])
    return dict(zip(("p50", "p95", "p99", "most"), map(float, cuts), strict=True))


def weighted(acks: list[tuple[int, float]]) -> dict[str, float]:
    """The same over trades, of transactions."""
    return {name: weighted_percentile(acks, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("most", 1.0))}


def report(figures: Figures) -> str:
    """Markdown."""
    lines = [
        f"{figures.trades} trades, {figures.trades_per_s:,.0f} a second{'' if figures.kept_up else ': the stream did NOT keep up'}.",
        "",
        "| ms | p50 | p95 | p99 | most | target, p95 |",
        "|---|---|---|---|---|---|",
    ]
    for name, values, target in (
        ("arrival to Kafka's acknowledgement", figures.ack_ms, TARGETS["ack_p95_ms"]),
        ("arrival to lake", figures.lake_ms, TARGETS["lake_p95_ms"]),
    ):
        lines.append(f"| {name} | {' | '.join(f'{values[key]:.0f}' for key in ('p50', 'p95', 'p99', 'most'))} | {target:.0f} |")
    lines += ["", "| process | CPU of a million trades, s | memory, MB: first third → last third |", "|---|---|---|"]
    for kind in dict.fromkeys([*figures.memory_mb, *figures.cpu_per_million_s]):
        cpu = sum(figures.cpu_per_million_s.values()) if kind == "all" else figures.cpu_per_million_s.get(kind)
        memory = figures.memory_mb.get(kind)
        lines.append(f"| {kind} | {'' if cpu is None else f'{cpu:.1f}'} | {'' if memory is None else '{:.0f} → {:.0f}'.format(*memory)} |")
    lines += ["", f"Of them the stream actor: {figures.stream_cpu_per_million_s:.1f} s of CPU for a million trades."]
    lines += [f"Memory is {'flat' if figures.memory_flat else 'NOT flat'}.", ""]
    burst_of = ", ".join(f"{name} {value:.1f}" for name, value in figures.burst.items())
    lines += [f"Burst of {BURST_TRADES} trades in a second{'' if figures.absorbed else ' was NOT absorbed in time'}: {burst_of}.", ""]
    lines += [f"{name}: {one}." for name, one in figures.readers.items()]
    lines.append(f"Verifier: {'OK' if figures.verified else 'FAILED'}.")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.streams", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="of the steady part (default 300)")
    parser.add_argument("--warm-s", type=float, default=30.0, help="before it (default 30)")
    parser.add_argument("--per-s", type=float, default=5_000.0, help=f"trades a second over {INSTRUMENTS} instruments (default 5000)")
    parser.add_argument("--quote-s", type=float, default=0.0, help="also record quotes, this often (default: no quotes)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()
    if given.seconds < LEAST_S:
        parser.error(f"--seconds is {given.seconds:g}: valid is {LEAST_S:g} or more, for a series of memory")
    print(f"Machine: {machine()}. Load before: {load()}.")
    print(f"{given.per_s:g} trades/s over {INSTRUMENTS} instruments for {given.seconds:g} s.", flush=True)
    with tempfile.TemporaryDirectory(prefix="cv-streams-") as home:
        figures = measure(Path(home), given.per_s, given.warm_s, given.seconds, given.quote_s)
    print(f"\n{report(figures)}\n\nLoad after: {load()}.")
    if given.json:
        given.json.write_text(json.dumps(asdict(figures), indent=2) + "\n", encoding="utf-8")
    print("passed" if figures.good else "FAILED")
    return 0 if figures.good else 1


if __name__ == "__main__":
    sys.exit(main())
