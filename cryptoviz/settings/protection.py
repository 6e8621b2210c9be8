"""Settings that protect a provider from us, and us from a provider: how much may be asked, and when to stop asking."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["MAX_COUNT", "MAX_DURATION_S", "BreakerSettings", "Duration", "QuotaSettings"]

MAX_COUNT = 10**12
"""Of calls, records or files: within every integer that a count goes through."""
MAX_DURATION_S = 366 * 86_400.0
"""A year: longer ones are a slip of the unit, and their ends would leave the calendar."""
Duration = Annotated[float, Field(ge=0, le=MAX_DURATION_S)]
"""Seconds."""


class QuotaSettings(BaseModel):
    """Limits of the plan. None: what the provider is known to allow, and no limit at another `base_url`; 0: no limit.

    Months and days are UTC's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    per_minute: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    """Calls; at Binance, weight."""
    per_day: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    """Calls or credits."""
    per_month: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    """Calls or credits."""
    reserve: float = Field(default=0.05, ge=0, lt=1)
    """Share of a day's and a month's limit that ticks are not planned with; second tries, look-ups and backfills live on it."""
    max_wait_s: Duration = 31 * 86_400.0
    """Longest wait for a plan that the provider calls used up: a day's lasts until UTC midnight, a month's until its end."""
    look_up_s: Duration = Field(default=21_600.0, ge=60)
    """How often a keyed plan's own account of limits and use is asked for, where the provider has one."""


class BreakerSettings(BaseModel):
    """When a provider that fails again and again is left alone for a while."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    failures: int = Field(default=5, ge=1, le=MAX_COUNT)
    """Failed polls in a row that open the breaker. A timeout counts twice: it costs a tick's whole time."""
    failing_s: Duration = 10.0
    """It does not open before the row of failures has lasted so long."""
    open_s: Duration = Field(default=30.0, gt=0)
    """First wait before one poll probes the provider; it doubles with each failed probe."""
    max_open_s: Duration = Field(default=300.0, gt=0)
    """Longest wait before a probe."""

    @model_validator(mode="after")
    def _in_order(self) -> BreakerSettings:
        if self.open_s > self.max_open_s:
            raise ValueError(f"open_s is {self.open_s:g} and max_open_s is {self.max_open_s:g}: the first wait may not be longer than the longest")
        return self
