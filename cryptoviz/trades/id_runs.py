"""`IdRun`: consecutive trade numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["IdRun", "runs_of"]


class IdRun(NamedTuple):
    """The numbers from `first` to `last`, both inclusive."""

    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def runs_of(numbers: Iterable[int]) -> list[IdRun]:
    """The runs that consist of these numbers, ascending."""
    runs: list[IdRun] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1].last == number - 1:
            runs[-1] = IdRun(runs[-1].first, number)
        else:
            runs.append(IdRun(number, number))
    return runs
