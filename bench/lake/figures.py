"""Results of a part of the benchmark."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Figure", "Part"]


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
