"""What retention removes when a clock is wrong, by days alone; and by what time maintenance goes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from minio import Minio

from spark_jobs.clock import EarlierClock
from spark_jobs.daily import believed_today, drop_old_days
from tests.unit.spark_jobs.folder_store import FolderClient, Job, offsets_in, open_table

TODAY = date(2026, 11, 28)
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def before(*days: int) -> list[date]:
    return [TODAY - timedelta(days=number) for number in days]


@pytest.mark.parametrize(
    ("days", "today", "believed"),
    [
        (before(), 0, 0),
        (before(0), 0, 0),
        (before(5, 4, 3, 2, 1, 0), 0, 0),
        (before(5, 4, 3, 2, 1, 0), 365, 0),  # this machine's clock and the store's are a year ahead, no tick was made since
        (before(2, 1, 0, -365), 365, 0),  # and one was
        (before(2, 1, 0, -365, -366, -370), 370, 0),
        (before(2, 1, 0, *range(-371, -364)), 371, 371),  # for a week: then it is so
        (before(2, 1, 0, -365), 0, 0),  # a single tick of time to come
        (before(9, 8, 0), 0, -8),  # eight days off, then on again: believed after a week
        (before(8, 7, 0), 0, 0),
        (before(60, 30, 0), 0, -30),
    ],
)
def test_retention_counts_from_the_newest_day_that_is_believed(days: list[date], today: int, believed: int) -> None:
    assert believed_today(days, TODAY + timedelta(days=today)) == TODAY + timedelta(days=believed)


def test_a_clock_a_year_ahead_removes_nothing(tmp_path: Path) -> None:
    job = Job(tmp_path, "job").open()  # ticks of 2025-11-24
    job.batch(5)
    client = cast("Minio", FolderClient())
    for today in (date(2025, 11, 25), date(2026, 11, 24), date(2027, 11, 24)):
        assert drop_old_days(client, job.address, open_table(job.address), 90, today) == 0
    assert offsets_in(job.address, plain=True) == list(range(5))


@pytest.mark.parametrize(("local_s", "now_s", "doubt"), [(0, 0, ""), (-3600, -3600, "behind"), (3600, 0, "ahead of"), (50, 0, "")])
def test_the_earlier_clock_counts_and_a_difference_is_told(local_s: int, now_s: int, doubt: str) -> None:
    seconds = [100.0]
    clock = EarlierClock(NOON, lambda: NOON + timedelta(seconds=local_s + seconds[0] - 100), lambda: seconds[0])
    seconds[0] += 10
    assert clock.now() == NOON + timedelta(seconds=now_s + 10)
    assert doubt in clock.doubt
    assert bool(clock.doubt) is bool(doubt)
