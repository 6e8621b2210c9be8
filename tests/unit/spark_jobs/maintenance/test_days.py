"""Days that retention removes under wrong clocks; and the time that maintenance uses."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from minio import Minio

from spark_jobs.maintenance.compaction.plan import DayFile
from spark_jobs.maintenance.days import DayRule, drop_old_days, retention_today
from spark_jobs.maintenance.safe_clock import EarlierClock
from tests.support.records import TICK
from tests.unit.spark_jobs import folder_store
from tests.unit.spark_jobs.folder_store import DAY, FolderClient, Job, offsets_in, open_table

TODAY = date(2026, 11, 28)
DAY_MS = 86_400_000
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def before(*days: int) -> list[date]:
    return [TODAY - timedelta(days=number) for number in days]


@pytest.mark.parametrize(
    ("days", "today", "believed"),
    [
        (before(), 0, 0),
        (before(0), 0, 0),
        (before(5, 4, 3, 2, 1, 0), 0, 0),
        (before(5, 4, 3, 2, 1, 0), 365, 0),  # this machine's clock and the store's are a year ahead, without ticks since
        (before(2, 1, 0, -365), 365, 0),  # with a tick
        (before(2, 1, 0, -365, -366, -370), 370, 0),
        (before(2, 1, 0, *range(-371, -364)), 371, 371),  # for a week: then it is believed
        (before(2, 1, 0, -365), 0, 0),  # a single tick in the future
        (before(9, 8, 0), 0, -8),  # eight days off, then on again: believed after a week
        (before(8, 7, 0), 0, -7),  # the same after a shorter pause
        (before(10, *range(7)), 0, 0),  # a day off, a week ago
        (before(9, 8, 7, 4, 3, 2, 1, 0), 0, -7),  # two days off: six days support today
        (before(60, 30, 0), 0, -60),  # any pause, not only the last
        (before(*range(88, -1, -1), -364, -387), 387, 0),  # a year ahead twice, for a tick each
        (before(*range(88, -1, -1), -5, -10, -15, -20, -25, -30), 30, 0),  # ahead by five days, six times
        (before(*range(88, -1, -1), -365, *range(-406, -399)), 406, 406),  # off for a year, once wrong, and on again for a week
        (before(*range(88, -1, -1), -365, *range(-405, -399)), 405, 0),  # for six days
        (before(900, *range(88, -1, -1)), 0, 0),  # the clock was behind once
    ],
)
def test_retention_counts_from_the_newest_day_that_is_believed(days: list[date], today: int, believed: int) -> None:
    assert retention_today(days, TODAY + timedelta(days=today)) == TODAY + timedelta(days=believed)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[date], list[date]]:
    """Days without a pause that end with `TODAY`, and isolated later days, each from a temporarily wrong clock."""
    length = draw(st.integers(1, 200))
    near = draw(st.lists(st.integers(2, 7), max_size=5))
    far = draw(st.lists(st.integers(8, 400), max_size=12))
    wrong, at = [], 0
    for pause in draw(st.permutations([*near, *far])):
        at += pause
        wrong.append(TODAY + timedelta(days=at))
    return before(*range(length)), wrong


@given(histories(), st.integers(0, 30), st.integers(1, 120))
def test_no_day_of_wrong_clocks_removes_a_day_inside_the_retention(history: tuple[list[date], list[date]], later: int, keep: int) -> None:
    real, wrong = history
    for today in (*wrong, max([TODAY, *wrong]) + timedelta(days=later)):
        counted = retention_today([*real, *wrong], today)
        assert counted <= TODAY
        assert not [day for day in real if (TODAY - day).days <= keep and (counted - day).days > keep]


@given(st.integers(1, 200), st.integers(8, 800), st.integers(1, 30), st.integers(0, 800))
def test_after_a_pause_a_week_is_believed(length: int, off: int, on: int, clock_ahead: int) -> None:
    newest = TODAY + timedelta(days=off + on - 1)
    days = [*before(*range(length)), *(TODAY + timedelta(days=off + number) for number in range(on))]
    assert retention_today(days, newest + timedelta(days=clock_ahead)) == (newest if on >= 7 else TODAY)


def test_two_clocks_a_year_ahead_remove_nothing_and_a_week_after_a_year_off_closes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(tmp_path, "job").open()
    client = cast("Minio", FolderClient())
    rows = 0

    def on(day: int) -> None:
        nonlocal rows
        rows += 2
        monkeypatch.setattr(folder_store, "TICK", TICK + day * DAY_MS)
        job.batch(rows)

    def dropped(day: int) -> int:
        return sum(drop_old_days(client, job.address, open_table(job.address), 90, DAY + timedelta(days=day)) for _ in range(20))

    for day in (*range(5), 404, 434):
        on(day)
    assert dropped(434) == 0
    for day in range(800, 806):
        on(day)
    assert dropped(805) == 0
    on(806)
    # The five real days and the two wrong days end more than 90 days before day 806: a file of two rows each.
    assert dropped(806) == 7
    assert offsets_in(job.address) == list(range(14, 28))


def test_a_clock_a_year_ahead_removes_nothing(tmp_path: Path) -> None:
    job = Job(tmp_path, "job").open()  # ticks of 2025-11-24
    job.batch(5)
    client = cast("Minio", FolderClient())
    for today in (date(2025, 11, 25), date(2026, 11, 24), date(2027, 11, 24)):
        assert drop_old_days(client, job.address, open_table(job.address), 90, today) == 0
    assert offsets_in(job.address, plain=True) == list(range(5))


@pytest.mark.parametrize(("modified_s", "closed"), [(-121, True), (-119, False), (0, False), (1, True), (365 * 86_400, True)])
def test_a_day_is_not_open_until_the_time_of_a_clock_that_was_ahead(modified_s: int, closed: bool) -> None:
    rule = DayRule(NOON, timedelta(seconds=1800), timedelta(seconds=120))
    path = "year=2026/month=11/day=27/part-" + "0" * 32 + ".snappy.parquet"
    modified_ms = round(NOON.timestamp() * 1000) + modified_s * 1000
    assert rule.closed(TODAY - timedelta(days=1), [_Fresh(path, 1, 1, modified_ms, TODAY)]) is closed


class _Fresh(DayFile):
    fresh = True


@pytest.mark.parametrize(("local_s", "now_s", "doubt"), [(0, 0, ""), (-3600, -3600, "behind"), (3600, 0, "ahead of"), (50, 0, "")])
def test_the_earlier_clock_counts_and_a_difference_is_reported(local_s: int, now_s: int, doubt: str) -> None:
    seconds = [100.0]
    clock = EarlierClock(NOON, lambda: NOON + timedelta(seconds=local_s + seconds[0] - 100), lambda: seconds[0])
    seconds[0] += 10
    assert clock.now() == NOON + timedelta(seconds=now_s + 10)
    assert doubt in clock.warning
    assert bool(clock.warning) is bool(doubt)
