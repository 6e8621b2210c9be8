"""Clock of maintenance: the earlier of two clocks, used to close days and remove rows.

A day closed too early is rebuilt, but rows removed too early are lost. So retention does not depend on this machine's clock alone, and also considers
the days of the table (`spark_jobs.maintenance.days`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

__all__ = ["EarlierClock"]

_ALIKE = timedelta(minutes=1)


class EarlierClock:
    """Returns the earlier of this machine's clock and the object store's."""

    def __init__(
        self, store_now: datetime, local: Callable[[], datetime] = lambda: datetime.now(UTC), monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`store_now`: the store's time just now."""
        self._store, self._local, self._monotonic = store_now, local, monotonic
        self._begun_s = monotonic()

    def now(self) -> datetime:
        return min(self._local(), self._store_now())

    @property
    def warning(self) -> str:
        """Warning if the clocks differ by more than a minute; empty otherwise."""
        ahead = self._local() - self._store_now()
        if abs(ahead) <= _ALIKE:
            return ""
        seconds = round(abs(ahead).total_seconds())
        which = "ahead of" if ahead > timedelta() else "behind"
        return f"this machine's clock is {seconds} s {which} the object store's: the earlier clock closes and removes days; synchronize the clocks"

    def _store_now(self) -> datetime:
        return self._store + timedelta(seconds=self._monotonic() - self._begun_s)
