"""What tests and benchmarks print: figures, their percentiles, and the machine."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import psutil


def say(*texts: object) -> None:
    """Print a measured figure (shown with `pytest -rP` or `-s`)."""
    sys.stdout.write(" ".join(map(str, texts)) + "\n")


def machine() -> str:
    """Cores, memory, system and Python."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def load() -> str:
    """The three load averages."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def pss_mb(process: psutil.Process) -> float:
    """Memory in MB; a page that several processes share counts in parts."""
    return float(process.memory_full_info().pss / 1e6)


def sum_by(processes: Iterable[psutil.Process], label: Callable[[psutil.Process], str], value: Callable[[psutil.Process], float]) -> dict[str, float]:
    """Sums of a value of processes by label. Processes that have ended are left out."""
    sums: dict[str, float] = {}
    for process in processes:
        try:
            name, found = label(process), value(process)
        except psutil.Error:
            continue
        sums[name] = sums.get(name, 0.0) + found
    return sums


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of a sample."""

    count: int
    p50: float
    p95: float
    p99: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """Percentiles by linear interpolation. Raises ValueError below 20 values: too few for a p95."""
    if len(values) < 20:
        raise ValueError(f"{len(values)} values are too few for percentiles, 20 are needed")
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return Spread(len(values), cuts[49], cuts[94], cuts[98], max(values))
