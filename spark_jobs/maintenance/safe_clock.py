"""The time by which maintenance closes days and removes rows: never by the clock of one machine alone.

A day that is closed too early is made again; rows that are removed too early are lost. So the earlier of two clocks counts, and not even that one
alone: retention also looks at what days the table has (`spark_jobs.maintenance.days`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

__all__ = ["EarlierClock"]

_ALIKE = timedelta(minutes=1)


class EarlierClock:
    """The earlier of this machine's clock and the object store's."""

    def __init__(
        self, store_now: datetime, local: Callable[[], datetime] = lambda: datetime.now(UTC), monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`store_now` is what the store said a moment ago."""
        self._store, self._local, self._monotonic = store_now, local, monotonic
        self._begun_s = monotonic()

    def now(self) -> datetime:
        """UTC."""
        return min(self._local(), self._store_now())

    @property
    def doubt(self) -> str:
        """What is wrong when the two differ by more than a minute; empty when they do not."""
        ahead = self._local() - self._store_now()
        if abs(ahead) <= _ALIKE:
            return ""
        seconds = round(abs(ahead).total_seconds())
        which = "ahead of" if ahead > timedelta() else "behind"
        return f"this machine's clock is {seconds} s {which} the object store's: days are closed and removed by the earlier one; set the clocks right"

    def _store_now(self) -> datetime:
        return self._store + timedelta(seconds=self._monotonic() - self._begun_s)
