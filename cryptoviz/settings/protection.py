"""Settings of quota and circuit breaker of a provider."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["MAX_COUNT", "MAX_DURATION_S", "BreakerSettings", "Duration", "QuotaSettings"]

MAX_COUNT = 10**12
"""Upper bound for counts of calls, records or files: fits into every integer type used."""
MAX_DURATION_S = 366 * 86_400.0
"""A year. Longer durations are probably in the wrong unit, and could exceed the range of dates."""
Duration = Annotated[float, Field(ge=0, le=MAX_DURATION_S)]
"""Seconds."""


class QuotaSettings(BaseModel):
    """Limits of the plan. None: the provider's known limit, or no limit with a different `base_url`; 0: no limit.

    Days and months are UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    per_minute: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    """Calls; for Binance, weight."""
    per_day: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    """Calls or credits."""
    per_month: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    """Calls or credits."""
    reserve: float = Field(default=0.05, ge=0, lt=1)
    """Share of the daily and monthly limit that is not scheduled for ticks, but kept for retries, look-ups and backfills."""
    max_wait_s: Duration = 31 * 86_400.0
    """Maximum hold after the provider reports a used-up plan: a daily limit until UTC midnight, a monthly limit until the end of the month."""
    look_up_s: Duration = Field(default=21_600.0, ge=60)
    """Interval of requests for the account's limits and usage, for providers with such an endpoint."""


class BreakerSettings(BaseModel):
    """Circuit breaker: when polls of a failing provider are suspended."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    failures: int = Field(default=5, ge=1, le=MAX_COUNT)
    """Consecutive failed polls that open the breaker. A timeout counts twice, because it takes the whole time of a tick."""
    failing_s: Duration = 10.0
    """Minimum duration of the failures before the breaker opens."""
    open_s: Duration = Field(default=30.0, gt=0)
    """First wait before a probe; doubled after each failed probe."""
    max_open_s: Duration = Field(default=300.0, gt=0)
    """Maximum wait before a probe."""

    @model_validator(mode="after")
    def _in_order(self) -> BreakerSettings:
        if self.open_s > self.max_open_s:
            raise ValueError(f"open_s is {self.open_s:g} and max_open_s is {self.max_open_s:g}: the first wait must not exceed the maximum")
        return self
