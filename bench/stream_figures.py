"""What `bench.streams` computes from what it measured. Pure."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

__all__ = ["Compared", "MemorySeries", "TradeValues", "compare", "per_million_s", "weighted_percentile"]

TradeValues = tuple[Decimal, Decimal, str, int]
"""Price, size, side of the taker, time at the venue (UTC epoch us)."""
_PARTS = 3
ALLOWED_GROWTH = (0.10, 60.0)
"""Of the sum of all processes, from the first third of the series to the last: this part, plus so many MB. As `bench.soak`."""


@dataclass
class Compared:
    """Trades of the market and of a reader of the lake. `different`: the same number with other values; `unknown`: the market did not make them."""

    trades: int = 0
    lost: int = 0
    doubled: int = 0
    different: int = 0
    unknown: int = 0

    @property
    def exact(self) -> bool:
        return self.trades > 0 and not (self.lost or self.doubled or self.different or self.unknown)

    def add(self, other: Compared) -> None:
        """Another instrument's."""
        for name in ("trades", "lost", "doubled", "different", "unknown"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def __str__(self) -> str:
        return f"{self.trades} trades, {self.lost} lost, {self.doubled} doubled, {self.different} different, {self.unknown} unknown"


def compare(stored: Iterable[tuple[int, TradeValues]], made: Mapping[int, TradeValues]) -> Compared:
    """The stored trades of an instrument and those that the market made between the first and the last of them."""
    counts, values = Counter[int](), dict[int, TradeValues]()
    for number, row in stored:
        counts[number] += 1
        values[number] = row
    if not counts:
        return Compared(lost=len(made))
    return Compared(
        trades=counts.total(),
        lost=len(made.keys() - values.keys()),
        doubled=counts.total() - len(counts),
        different=sum(made[number] != row for number, row in values.items() if number in made),
        unknown=len(values.keys() - made.keys()),
    )


def weighted_percentile(values: Sequence[tuple[int, float]], share: float) -> float:
    """The least value that `share` of the weight does not exceed. `values`: weight and value.

    Raises:
        ValueError: there is no weight.
    """
    ordered = sorted((value, weight) for weight, value in values if weight > 0)
    if not ordered:
        raise ValueError("a percentile of nothing")
    rest = math.ceil(sum(weight for _, weight in ordered) * share)
    for value, weight in ordered:
        rest -= weight
        if rest <= 0:
            return value
    return ordered[-1][0]


def per_million_s(cpu_s: float, trades: int) -> float:
    """Processor time of a million trades, seconds."""
    return cpu_s / trades * 1e6


@dataclass
class MemorySeries:
    """Memory (PSS, MB) by kind of process, over time."""

    samples: list[dict[str, float]] = field(default_factory=list)

    def totals(self) -> list[float]:
        return [sum(sample.values()) for sample in self.samples]

    def thirds(self, kind: str = "") -> tuple[float, float]:
        """Medians of the first and the last third, of all processes or of a kind."""
        values = [sample.get(kind, 0.0) for sample in self.samples] if kind else self.totals()
        part = max(1, len(values) // _PARTS)
        return statistics.median(values[:part]), statistics.median(values[-part:])

    @property
    def flat(self) -> bool:
        """Whether the sum grew by no more than `ALLOWED_GROWTH`."""
        (part, more), (first, last) = ALLOWED_GROWTH, self.thirds()
        return last <= first * (1 + part) + more

    def kinds(self) -> list[str]:
        """The largest at the end first."""
        names = {name for sample in self.samples for name in sample}
        return sorted(names, key=lambda name: -self.thirds(name)[1])
