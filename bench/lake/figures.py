"""What a part of the benchmark found, and the arithmetic of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Figure", "Part", "Spread", "spread"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `aim` is what was hoped for, `met` whether it was reached (None without an aim), `check` how the result was proved."""

    name: str
    value: float
    unit: str
    aim: str = ""
    met: bool | None = None
    note: str = ""
    check: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the benchmark: its sizes, its figures, and the verifier's last word on the data that it left."""

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
    """Percentiles by linear interpolation. Raises ValueError below 20 values: a p95 of fewer is a guess."""
    if len(values) < 20:
        raise ValueError(f"{len(values)} values are too few for percentiles, 20 are needed")
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return Spread(len(values), cuts[49], cuts[94], cuts[98], max(values))
