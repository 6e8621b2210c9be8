"""Limits of a provider's plan, and the cost of a poll."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Cost", "Period", "Plan", "one_call", "one_call_for_each"]


class Period(StrEnum):
    """A calendar period in UTC."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one poll. Days and months count `calls` (calls or credits), minutes count `calls` times `weight`."""

    calls: int = 1
    weight: int = 1

    def __post_init__(self) -> None:
        if self.calls < 1 or self.weight < 1:
            raise ValueError(f"the cost of a poll is {self.calls} calls of weight {self.weight}: valid are 1 or more of both")


@dataclass(frozen=True, slots=True)
class Plan:
    """Limits; None is no limit. `reserve` is the share of a day or month that is not scheduled."""

    per_minute: int | None = None
    per_day: int | None = None
    per_month: int | None = None
    reserve: float = 0.05

    def __post_init__(self) -> None:
        for limit in (self.per_minute, self.per_day, self.per_month):
            if limit is not None and limit <= 0:
                raise ValueError(f"a limit of a plan is {limit}: valid are positive numbers, or None for no limit")
        if not 0 <= self.reserve < 1:
            raise ValueError(f"the reserve of a plan is {self.reserve}: valid is 0 to 1, without 1")

    def limit(self, period: Period) -> int | None:
        return self.per_day if period is Period.DAY else self.per_month

    def plannable(self, period: Period) -> int | None:
        """The limit less the reserve."""
        limit = self.limit(period)
        return None if limit is None else limit - int(limit * self.reserve)

    @property
    def metered(self) -> bool:
        """Whether days or months are limited."""
        return self.per_day is not None or self.per_month is not None


def one_call(assets: int) -> Cost:
    """One call for any number of assets."""
    del assets
    return Cost()


def one_call_for_each(coins: int) -> Callable[[int], Cost]:
    """One call for each `coins` assets, at least one."""
    return lambda assets: Cost(max(1, -(-assets // coins)))
