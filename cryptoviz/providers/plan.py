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
    """Of one poll. Days and months count `calls` (calls or credits), minutes count `calls` times `weight`."""

    calls: int = 1
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """Limits; None is no limit. `reserve` is the share of a day or month that is not scheduled."""

    per_minute: int | None = None
    per_day: int | None = None
    per_month: int | None = None
    reserve: float = 0.05

    def limit(self, period: Period) -> int | None:
        """Of a day or a month."""
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
