"""Counts of calls by method and code, and the latency of unary methods."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from control.rpc.methods import ROLES, answers_once

__all__ = ["BOUNDS_S", "UNKNOWN", "CallMetrics", "MethodMetrics", "known_name"]

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency buckets, inclusive; a last bucket has no bound."""
UNKNOWN = "unknown"
"""Stands for all methods that do not exist: callers choose their names."""


@dataclass(slots=True)
class MethodMetrics:
    """Of one method, since the start. `latency`: number of calls in each bucket of `BOUNDS_S`; only of unary methods, admitted calls."""

    codes: Counter[str] = field(default_factory=Counter)
    latency: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0


class CallMetrics:
    """For one event loop. Bounded: one entry per method of the contract."""

    def __init__(self) -> None:
        self.methods: dict[str, MethodMetrics] = {}

    def add(self, method: str, code: str, took_s: float | None = None) -> None:
        """Count a call that has ended. `took_s`: its duration, None if it was refused before it was read."""
        name = known_name(method)
        entry = self.methods.setdefault(name, MethodMetrics())
        entry.codes[code] += 1
        if took_s is not None and answers_once(name):
            entry.latency[bisect_left(BOUNDS_S, took_s)] += 1
            entry.total_s += took_s


def known_name(method: str) -> str:
    """The method, or UNKNOWN."""
    return method if method in ROLES else UNKNOWN
