"""Settings that protect a provider from us, and us from a provider: how much may be asked, and when to stop asking."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["BreakerSettings", "QuotaSettings"]


class QuotaSettings(BaseModel):
    """Limits of the plan. None: what the provider is known to allow, and no limit at another `base_url`; 0: no limit.

    Months and days are UTC's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_minute: int | None = Field(default=None, ge=0)
    """Calls; at Binance, weight."""
    per_day: int | None = Field(default=None, ge=0)
    """Calls or credits."""
    per_month: int | None = Field(default=None, ge=0)
    """Calls or credits."""
    reserve: float = Field(default=0.05, ge=0, lt=1)
    """Share of a day's and a month's limit that ticks are not planned with; second tries, look-ups and backfills live on it."""
    max_wait_s: float = Field(default=31 * 86_400.0, ge=0)
    """Longest wait for a plan that the provider calls used up: a day's lasts until UTC midnight, a month's until its end."""
    look_up_s: float = Field(default=21_600.0, ge=60)
    """How often a keyed plan's own account of limits and use is asked for, where the provider has one."""


class BreakerSettings(BaseModel):
    """When a provider that fails again and again is left alone for a while."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    failures: int = Field(default=5, ge=1)
    """Failed polls in a row that open the breaker. A timeout counts twice: it costs a tick's whole time."""
    failing_s: float = Field(default=10.0, ge=0)
    """It does not open before the row of failures has lasted so long."""
    open_s: float = Field(default=30.0, gt=0)
    """First wait before one poll probes the provider; it doubles with each failed probe."""
    max_open_s: float = Field(default=300.0, gt=0)
    """Longest wait before a probe."""
