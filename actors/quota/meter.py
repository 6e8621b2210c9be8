"""One provider's meter: counts each call before it is made, and refuses calls beyond the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from actors.quota.store import UsageStore
from actors.quota.usage import Usage
from cryptoviz.clock import Clock
from cryptoviz.plans import period_bounds_ms
from cryptoviz.providers.account import Account
from cryptoviz.providers.plan import Period, Plan

__all__ = ["Meter"]


class Meter:
    """For one event loop. All times are UTC epoch ms.

    Args:
        plan: the limits.
        stores: where the usage is kept; the largest counts of all stores apply. Read before each call, because others use the plan too: a backfill,
            or the scraper of another node.
    """

    def __init__(self, plan: Plan, stores: Sequence[UsageStore], clock: Clock) -> None:
        self.plan = plan
        self._stores = stores
        self._clock = clock
        self._usage = Usage()

    @property
    def usage(self) -> Usage:
        return self._usage.at(self._clock.now_ms())

    async def load(self) -> None:
        """Load the usage of other processes."""
        for store in self._stores:
            self._usage = self._usage.merged(await store.load())

    async def charge(self, calls: int = 1) -> Period | None:
        """Count `calls` and store the count; None if they are permitted, else the period whose limit they would exceed."""
        await self.load()
        now_ms = self._clock.now_ms()
        usage = self._usage.at(now_ms)
        for period in Period:
            limit = self.plan.limit(period)
            if limit is not None and usage.used(period) + calls > limit:
                return period
        await self._keep(usage.charged(calls, now_ms))
        return None

    def took_turn(self, tick_ts: int) -> None:
        """Note that a turn was taken; stored with the next charge."""
        self._usage = self._usage.took_turn(tick_ts)

    async def learn(self, account: Account) -> None:
        """Apply the provider's own account: its limits replace ours where given, and its usage counts if it is higher."""
        plan = self.plan
        self.plan = replace(
            plan,
            per_minute=account.per_minute or plan.per_minute,
            per_day=account.per_day or plan.per_day,
            per_month=account.per_month or plan.per_month,
        )
        await self.load()
        await self._keep(self.usage.reported(account.day_used or 0, account.month_used or 0))

    def resets_ms(self, period: Period) -> int:
        """End of the current period (UTC epoch ms)."""
        return period_bounds_ms(period, self._clock.now_ms())[1]

    async def _keep(self, usage: Usage) -> None:
        self._usage = usage
        for store in self._stores:
            await store.save(usage)
