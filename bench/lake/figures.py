"""Results of a part of the benchmark, and their statistics."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Figure", "Part", "Spread", "spread"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A line of the table. `aim`: the target; `met`: whether it was reached (None without a target); `check`: how the result was verified."""

    name: str
    value: float
    unit: str
    aim: str = ""
    met: bool | None = None
    note: str = ""
    check: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the benchmark: sizes, figures, and the final verification of its data."""

    name: str
    title: str
    sizes: str
    figures: tuple[Figure, ...]
    verifier: str
    machine: str = ""
    load: str = ""
    command: str = ""
    notes: tuple[str, ...] = ()
    detail: dict[str, object] = field(default_factory=dict)


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
