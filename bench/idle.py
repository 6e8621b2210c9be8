"""What a running pipeline costs, and how fast it starts, recovers and stops (`make bench-idle`).

For each tick interval, with a demo of its own (17 coins, two providers, no browser):

- second start: seconds from the command to each component's RUNNING, and to the first row committed by this run.
- processor time, context switches, bytes written: of all processes of the demo over the period, also of those that began or ended in it, from `/proc`
  at every step. `idle`: median over the steps, that is, between ticks if a tick is long.
- memory: PSS of each process at the end (a page that several share counts in parts).
- recovery: seconds from `kill -9` of the lake's driver to the next commit. Stop: seconds of `cryptoviz down`.

Prints Markdown tables; `--json FILE` keeps the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from cryptoviz.settings import Settings, load_settings_file
from tests.support.measure import load, machine, pss_mb, sum_by
from tests.support.pipeline import CRYPTOVIZ, Demo, environment
from tests.support.processes import processes_of

STEP_S = 1.0
WARM_S = 30.0
DAY_S = 86_400
DRIVER = "spark driver (JVM)"
_KINDS = {
    # First: its arguments name what it watches.
    r"/ray_watch\.py ": "ray start",
    # First: the arguments of the raylet contain the commands of its workers and agents.
    r"/raylet/raylet ": "raylet",
    r"kafka\.Kafka": "kafka",
    r"^\S*minio ": "object store",
    r"(valkey|redis)-server": "redis",
    r"SparkSubmit": DRIVER,
    r"DefaultWorker|default_worker.*java": "spark executor (JVM)",
    r"spark_jobs\.streaming\.daemon": "spark tasks (Python)",
    r"gcs_server": "ray gcs",
    r"dashboard/dashboard\.py|ray-dashboard-|from multiprocessing\.": "ray dashboard",
    r"ray::\w+Agent\b|dashboard/agent\.py|runtime_env/agent": "ray agents",
    r"ray\.util\.client": "ray client server",
    r"cluster_guard": "guard",
    r"/ray start |control\.ray_head start ": "ray start",
    r"-m dashboard$": "dashboard",
    r"spark_jobs\.maintenance ": "maintenance round",
    r"_worker\.py": "starting worker",
}


@dataclass(slots=True)
class Use:
    """Cumulative use of a process."""

    cpu_s: float
    switches: dict[int, int]
    """By thread id."""
    written: int


def kind_of(process: psutil.Process) -> str:
    """Name of a process in the tables; the class of an actor for Ray's workers."""
    try:
        return kind_of_line(" ".join(process.cmdline())) or process.name()
    except psutil.NoSuchProcess:
        return "ended"


def kind_of_line(line: str) -> str:
    """The same by its arguments; empty if they are of none."""
    for pattern, kind in _KINDS.items():
        if re.search(pattern, line):
            return kind
    actor = re.match(r"ray::(\w+)", line)
    return actor[1] if actor else ""


def switches_of(pid: int) -> dict[int, int]:
    """Context switches of each thread; psutil counts those of the main thread only. Switches of threads that have ended are not counted."""
    found = {}
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with contextlib.suppress(OSError):  # the thread ended meanwhile
            found[int(status.parent.name)] = sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", status.read_text())))
    return found


class Meter:
    """Sums the use of processes by kind, from its first step on."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._first: dict[tuple[int, float], Use] = {}
        self._last: dict[tuple[int, float], Use] = {}
        self._kinds: dict[tuple[int, float], str] = {}
        self.rates: list[float] = []
        """Cores in use, by step."""

    def step(self, seconds: float | None) -> None:
        """Read all processes. `seconds` since the previous step; None at the first."""
        before = self._cpu_s()
        for process in processes_of(self._home):
            try:
                key = (process.pid, process.create_time())
                if key not in self._kinds:
                    self._kinds[key] = kind_of(process)
                times = process.cpu_times()
                use = Use(times.user + times.system, switches_of(process.pid), process.io_counters().write_bytes)
            except psutil.NoSuchProcess:
                continue
            # A process that began after the first step counts from zero.
            self._first.setdefault(key, use if seconds is None else Use(0.0, {}, 0))
            self._last[key] = use
        if seconds is not None:
            self.rates.append((self._cpu_s() - before) / seconds)

    def _cpu_s(self) -> float:
        return sum(use.cpu_s for use in self._last.values()) - sum(use.cpu_s for use in self._first.values())

    def by_kind(self, seconds: float) -> dict[str, dict[str, float]]:
        """Of each kind: cores, context switches a second, MB written a day, processes seen."""
        found: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(("cores", "switches_per_s", "written_mb_a_day", "processes"), 0.0))
        for key, last in self._last.items():
            first, row = self._first[key], found[self._kinds[key]]
            row["cores"] += (last.cpu_s - first.cpu_s) / seconds
            row["switches_per_s"] += sum(count - first.switches.get(thread, 0) for thread, count in last.switches.items()) / seconds
            row["written_mb_a_day"] += (last.written - first.written) / seconds * DAY_S / 1e6
            row["processes"] += 1
        return dict(found)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ticks", type=float, nargs="+", default=[60.0, 2.0], help="tick intervals, s (default 60 2)")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long to measure each (default 5)")
    parser.add_argument("--kills", type=int, default=3, help="kills of the lake's driver (default 3)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()
    figures: dict[str, Any] = {"machine": machine(), "load": load(), "minutes": given.minutes}
    for tick_s in given.ticks:
        with tempfile.TemporaryDirectory(prefix="cv-bench-") as home:
            figures[f"{tick_s:g}"] = measure(Path(home), tick_s, given.minutes * 60, given.kills)
        report(figures, tick_s)
        if given.json:
            given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def measure(home: Path, tick_s: float, seconds: float, kills: int) -> dict[str, Any]:
    """The figures of one tick interval."""
    env = environment(home, tick_s)
    del env["CRYPTOVIZ_RAY__CLIENT_PORT"]  # its server does not run by default
    with running(home, env) as demo:
        settings = demo.settings
    figures: dict[str, Any] = {}
    with running(home, env, version(settings), figures) as demo:
        time.sleep(WARM_S)
        meter = Meter(home)
        meter.step(None)
        begun = last = time.monotonic()
        while last - begun < seconds:
            time.sleep(STEP_S)
            now = time.monotonic()
            meter.step(now - last)
            last = now
        figures["by_kind"] = meter.by_kind(last - begun)
        figures["cores"] = sum(row["cores"] for row in figures["by_kind"].values())
        figures["idle_cores"] = statistics.median(meter.rates)
        for kind, mb in memory(home).items():
            figures["by_kind"].setdefault(kind, {})["pss_mb"] = mb
        figures["lake_back_s"] = [recovery(demo) for _ in range(kills)]
    return figures


@contextmanager
def running(home: Path, env: dict[str, str], known: int = -1, figures: dict[str, Any] | None = None) -> Iterator[Demo]:
    """A demo that has committed a version of the prices table after `known`."""
    begun, wall = time.monotonic(), time.time()
    subprocess.run([CRYPTOVIZ, "demo", "--detach"], env=env, check=True, stdout=subprocess.DEVNULL)
    command_s = time.monotonic() - begun
    demo = Demo(load_settings_file(home / "run" / "settings.json"), env)
    try:
        until(lambda: version(demo.settings) > known, 240)
        first_row_s = time.monotonic() - begun
        with demo.control() as client:
            since = {component.name: component.since_ms for component in client.list().components}
        if figures is not None:
            figures["start_s"] = {"command": command_s, "first row": first_row_s} | {name: at / 1000 - wall for name, at in since.items()}
        yield demo
    finally:
        ending = time.monotonic()
        subprocess.run([CRYPTOVIZ, "down", "--demo"], env=env, check=False, stdout=subprocess.DEVNULL)
        if figures is not None:
            figures["stop_s"] = time.monotonic() - ending


def recovery(demo: Demo) -> float:
    """Seconds from the end of the lake's driver to the first commit of the next driver."""
    begun, (old,) = time.monotonic(), drivers(demo)
    old.kill()
    until(lambda: drivers(demo) not in ([], [old]), 180)
    before = version(demo.settings)
    until(lambda: version(demo.settings) > before, 180)
    return time.monotonic() - begun


def drivers(demo: Demo) -> list[psutil.Process]:
    """The JVM of the lake's driver, if it runs."""
    return [process for process in processes_of(demo.settings.home) if kind_of(process) == DRIVER]


def version(settings: Settings) -> int:
    """Version of the last batch in the prices table; -1 without one. Read from MinIO's folder, so that polling costs the pipeline nothing."""
    log = settings.home / "minio" / settings.s3.prices_bucket / "_delta_log"
    commits = sorted((path for path in log.glob("*.json") if path.name[:20].isdigit()), reverse=True)
    return next((int(path.name[:20]) for path in commits if _has_rows(path)), -1)


def _has_rows(commit: Path) -> bool:
    """Whether the commit adds files and replaces none: neither a fence of a new run nor maintenance. MinIO keeps small objects within `xl.meta`."""
    content = b"".join(part.read_bytes() for part in commit.rglob("*") if part.is_file())
    return b'{"add":' in content and b'{"remove":' not in content


def until(check: Callable[[], bool], seconds: float) -> None:
    """Poll ten times a second."""
    begun = time.monotonic()
    while not check():
        if time.monotonic() - begun > seconds:
            raise SystemExit(f"not reached within {seconds:g} s")
        time.sleep(0.1)


def memory(home: Path) -> dict[str, float]:
    """PSS in MB by kind."""
    return sum_by(processes_of(home), kind_of, pss_mb)


def report(figures: dict[str, Any], tick_s: float) -> None:
    """Markdown."""
    found = figures[f"{tick_s:g}"]
    print(f"\n{tick_s:g} s tick, {figures['minutes']:g} minutes. Machine: {figures['machine']}. Load before: {figures['load']}.\n")
    memory_mb = sum(row.get("pss_mb", 0.0) for row in found["by_kind"].values())
    print(f"Processor: {found['cores']:.2f} cores mean, {found['idle_cores']:.2f} median of a second. Memory: {memory_mb:.0f} MB (sum of PSS).")
    print("Start, s: " + ", ".join(f"{name} {at:.1f}" for name, at in sorted(found["start_s"].items(), key=lambda item: item[1] or 0) if at))
    print(f"Lake back after kill -9, s: {', '.join(f'{each:.1f}' for each in found['lake_back_s'])}. Stop: {found['stop_s']:.1f} s.\n")
    print("| process | number | % of a core | context switches/s | MB written a day | PSS, MB |\n|---|---|---|---|---|---|")
    for name, row in sorted(found["by_kind"].items(), key=lambda item: -item[1].get("cores", 0.0)):
        cells = (
            row.get("processes", 0),
            100 * row.get("cores", 0),
            row.get("switches_per_s", 0),
            row.get("written_mb_a_day", 0),
            row.get("pss_mb", 0),
        )
        print(f"| {name} | {cells[0]:.0f} | {cells[1]:.1f} | {cells[2]:.0f} | {cells[3]:.0f} | {cells[4]:.0f} |")


if __name__ == "__main__":
    main()
