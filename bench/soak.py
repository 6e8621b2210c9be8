"""A long run of the whole demo under random faults (`make soak`), fault 28.

Faults of all kinds, in an order that the seed decides: processes killed and stopped, components restarted and stopped over gRPC, providers that fail,
Redis emptied and read-only, invalid records. After each, the time until every component runs and the lake has a newer tick. At the end:

- what the market served, Kafka has and the lake has are compared by two readers: 0 lost, 0 doubled;
- memory (PSS), descriptors and threads of all processes, and files of the home without the engines' data, do not grow: the median of the last third
  of the samples is compared with that of the first third, after a warm-up, with the bounds of `BOUNDS`.

Exit code 1 if anything of this fails. Not among the faults: those that end the cluster (raylet, GCS), which start all processes again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from redis.exceptions import RedisError

from bench.idle import DRIVER, kind_of
from cryptoviz.errors import CryptoVizError
from cryptoviz.kafka import producer
from tests.chaos.pipeline_rig import CONTROLLER, Recovery, assert_exact, closed_ticks, live, process_of, stopped
from tests.chaos.test_engine_outages import REDIS_FAULTS
from tests.support.files import files_in
from tests.support.measure import load, machine, pss_mb
from tests.support.pipeline import Demo, running_demo
from tests.support.processes import processes_of

TICK_S = 0.5
WARM_UP = 0.2
"""Part of the samples that is left out: caches fill, and JVMs compile."""
RECOVERY_S = 240.0
BOUNDS = {"pss_mb": (0.10, 60.0), "descriptors": (0.10, 40.0), "threads": (0.10, 20.0), "files": (0.10, 40.0)}
"""Growth that is allowed for the sum of all processes: this part, plus so much."""
_DATA = frozenset({"kafka", "minio", "market"})
"""Folders of the home whose files are data: they grow with the rows."""

KILLED = ("scraper/coingecko", "scraper/coinmarketcap", "collector", "kafka", "object-store", "redis", "market-replay", "dashboard", CONTROLLER)
KILLED_KINDS = ("LakeActor", DRIVER, "spark executor (JVM)", "spark tasks (Python)", "Supervisor")
STOPPED = ("scraper/coingecko", "collector", "kafka", "object-store", "redis", "dashboard", CONTROLLER)
RESTARTED = ("collector", "lake", "redis", "dashboard", "scraper/coinmarketcap", "maintenance")
MARKET_FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "http_status", "parameters": {"status": 500}},
    {"kind": "http_status", "parameters": {"status": 429}},
    {"kind": "html_200"},
    {"kind": "hang"},
)

Fault = Callable[[Demo, random.Random], None]


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def _kill(name: str) -> Fault:
    return lambda demo, _: process_of(demo, name).send_signal(signal.SIGKILL)


def _kill_kind(kind: str) -> Fault:
    def kill(demo: Demo, chance: random.Random) -> None:
        found = [process for process in processes_of(demo.settings.home) if kind_of(process) == kind]
        if found:  # idle Python workers end by themselves
            with contextlib.suppress(psutil.NoSuchProcess):
                chance.choice(found).kill()

    return kill


def _stop_process(name: str) -> Fault:
    def stop(demo: Demo, chance: random.Random) -> None:
        with stopped(process_of(demo, name)):
            _pause(chance.uniform(2, 25))

    return stop


def _restart(name: str) -> Fault:
    def restart(demo: Demo, _: random.Random) -> None:
        with demo.control() as client:
            client.restart(name)

    return restart


def _stop_for_a_while(name: str) -> Fault:
    def stop(demo: Demo, chance: random.Random) -> None:
        with demo.control() as client:
            client.stop(name)
            _pause(chance.uniform(1, 15))
            client.start(name)

    return stop


def _provider_fails(spec: dict[str, Any]) -> Fault:
    def fail(demo: Demo, chance: random.Random) -> None:
        with demo.fault(provider=chance.choice(("coingecko", "coinmarketcap")), **spec):
            _pause(chance.uniform(2, 15))

    return fail


def _redis(name: str) -> Fault:
    def fail(demo: Demo, chance: random.Random) -> None:
        with REDIS_FAULTS[name](demo):
            _pause(chance.uniform(1, 10))

    return fail


def _invalid_records(demo: Demo, chance: random.Random) -> None:
    """They become dead letters; the comparison at the end leaves them out."""
    clients = producer(demo.settings.kafka)
    for topic in (demo.settings.kafka.stream_topic, demo.settings.kafka.raw_topic):
        for value in (b"\x00\xff not json", b"[]", b'{"event_id": 1}', b'{"price": NaN}'):
            clients.produce(topic, value=value, key=b"soak", partition=chance.choice((0, 1)))
    if clients.flush(20):
        raise AssertionError("the invalid records were not acknowledged")


def all_faults() -> dict[str, Fault]:
    """By name."""
    found: dict[str, Fault] = {f"kill {name}": _kill(name) for name in KILLED}
    found |= {f"kill {kind}": _kill_kind(kind) for kind in KILLED_KINDS}
    found |= {f"stop (SIGSTOP) {name}": _stop_process(name) for name in STOPPED}
    found |= {f"restart {name}": _restart(name) for name in RESTARTED}
    found |= {f"stop {name} for a while": _stop_for_a_while(name) for name in RESTARTED}
    found |= {f"provider: {spec['kind']} {spec.get('parameters', '')}".rstrip(): _provider_fails(spec) for spec in MARKET_FAULTS}
    found |= {f"redis {name}": _redis(name) for name in REDIS_FAULTS}
    return found | {"invalid records": _invalid_records}


@dataclass
class Samples:
    """Use of resources over time: by measure, the sum of all processes, and by kind of process."""

    home: Path
    sums: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in BOUNDS})
    by_kind: list[dict[str, dict[str, float]]] = field(default_factory=list)

    def take(self) -> None:
        """Measure all processes now. Those that end meanwhile are left out."""
        kinds: dict[str, dict[str, float]] = {}
        for process in processes_of(self.home):
            with contextlib.suppress(psutil.Error):
                values = {"pss_mb": pss_mb(process), "descriptors": float(process.num_fds()), "threads": float(process.num_threads())}
                row = kinds.setdefault(kind_of(process), dict.fromkeys(values, 0.0))
                for name, value in values.items():
                    row[name] += value
        self.by_kind.append(kinds)
        for name in ("pss_mb", "descriptors", "threads"):
            self.sums[name].append(sum(row[name] for row in kinds.values()))
        self.sums["files"].append(float(sum(1 for _ in _files(self.home))))

    def thirds(self, values: list[float]) -> tuple[float, float]:
        """Medians of the first and the last third after the warm-up."""
        kept = values[round(len(values) * WARM_UP) :]
        part = max(1, len(kept) // 3)
        return statistics.median(kept[:part]), statistics.median(kept[-part:])

    def grown(self) -> list[str]:
        """What grew beyond its bound."""
        found = []
        for name, (part, more) in BOUNDS.items():
            first, last = self.thirds(self.sums[name])
            if last > first * (1 + part) + more:
                found.append(f"{name} grew from {first:.0f} to {last:.0f}; allowed: {first * (1 + part) + more:.0f}")
        return found

    def table(self) -> str:
        """Markdown: the thirds of all processes and of each kind."""
        lines = ["| process | PSS, MB | descriptors | threads |", "|---|---|---|---|"]
        measures = ("pss_mb", "descriptors", "threads")
        rows = {"all": self.sums}
        for kind in sorted({kind for sample in self.by_kind for kind in sample}):
            rows[kind] = {name: [sample.get(kind, {}).get(name, 0.0) for sample in self.by_kind] for name in measures}
        for kind, values in rows.items():
            cells = ["{:.0f} → {:.0f}".format(*self.thirds(values[name])) for name in measures]
            lines.append(f"| {kind} | {' | '.join(cells)} |")
        return "\n".join([*lines, "", "Files of the home without data: {:.0f} → {:.0f}.".format(*self.thirds(self.sums["files"]))])


def _files(home: Path) -> Iterator[Path]:
    for entry in home.iterdir():
        if entry.name not in _DATA:
            yield from files_in(entry) if entry.is_dir() else (entry,)


def soak(demo: Demo, seconds: float, chance: random.Random) -> list[str]:
    """Run for so long; returns what failed."""
    faults, samples, failures, took = all_faults(), Samples(demo.settings.home), [], Counter[str]()
    worst: dict[str, float] = {}
    waiting: list[str] = []
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        if not waiting:  # each once, before any of them again
            waiting = chance.sample(sorted(faults), len(faults))
        name = waiting.pop()
        _pause(chance.uniform(0.0, 4.0))
        try:
            faults[name](demo, chance)
            recovered_s = Recovery().made(demo, RECOVERY_S)
        except httpx.HTTPError as error:
            print(f"{name}: not injected, {error!r}", flush=True)
        except (AssertionError, CryptoVizError, RedisError, psutil.Error) as error:
            failures.append(f"{name}: {error}")
            print(f"FAILED {name}: {error}", flush=True)
            with contextlib.suppress(AssertionError):
                Recovery().made(demo, RECOVERY_S)
        else:
            took[name] += 1
            worst[name] = max(worst.get(name, 0.0), recovered_s)
            _pause(2.0)  # what the fault has ended, ends
            samples.take()
            left_s = end_s - time.monotonic()
            print(f"{name}: recovered after {recovered_s:.1f} s; {left_s / 60:.1f} minutes left; load {load()}", flush=True)
    longest = json.dumps({name: round(value, 1) for name, value in worst.items()})
    print(f"\n{took.total()} faults of {len(took)} kinds. Longest recovery, s: {longest}\n")
    print(samples.table(), flush=True)
    return failures + samples.grown() + compared(demo)


def compared(demo: Demo) -> list[str]:
    """What the comparison of market, Kafka and lake finds."""
    try:
        rows = assert_exact(demo, 180.0)
    except AssertionError as error:
        return [f"comparison: {error}"]
    closed = closed_ticks(demo.exchanges())
    known = {tick.closed.tick_ts for tick in closed}
    expected = range(min(known), max(known) + 1, demo.settings.collect.tick_ms)
    priced = {record.tick_ts for record in live(demo)}
    print(f"{rows} rows; {len(expected)} ticks, {len(known)} recorded, {len(priced)} with prices. 0 lost, 0 doubled, by two readers.")
    return []


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long to inject faults (default 60)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31), help="of the order and the moments (default: random)")
    given = parser.parse_args()
    print(f"Seed {given.seed}, {given.minutes:g} minutes. Machine: {machine()}. Load before: {load()}.", flush=True)
    with tempfile.TemporaryDirectory(prefix="cv-soak-") as home, running_demo(Path(home), TICK_S) as demo:
        failures = soak(demo, given.minutes * 60, random.Random(given.seed))
    print(f"Load after: {load()}.")
    for failure in failures:
        print(f"FAILED: {failure}")
    print("FAILED" if failures else "passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
