"""Selection of the files of a day to be merged next."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta

import pytest

from cryptoviz.lake.parts import Compacted, Part
from spark_jobs.maintenance.compaction.plan import MAX_BYTES, MAX_INPUTS, DayFile, is_compact, next_merge
from spark_jobs.maintenance.days import DayRule

DAY = date(2026, 3, 1)
MB = 1 << 20


def fresh(number: int, size: int = 8000) -> DayFile:
    return DayFile(Part("0a1b2c3d", 0, number * 10, number * 10 + 9, DAY).path, size, 10, 1_000_000 + number, DAY)


def merged(number: int, size: int = MB) -> DayFile:
    return DayFile(Compacted.of([str(number)], DAY).path, size, 100, 2_000_000 + number, DAY)


def test_open_day_keeps_its_parts_below_the_limit() -> None:
    files = [fresh(i) for i in range(9)]
    assert next_merge(files, closed=False, small_files=10) is None
    assert next_merge([*files, fresh(9)], closed=False, small_files=10) == (*files, fresh(9))


def test_open_day_merges_small_compacted_files_once_there_are_many() -> None:
    small = [merged(i) for i in range(16)]
    large = merged(99, 17 * MB)
    assert next_merge([*small[:15], large], closed=False, small_files=10) is None
    assert next_merge([large, *small], closed=False, small_files=10) == tuple(small)


def test_closed_day_becomes_one_file_and_then_stays() -> None:
    files = [merged(1), *(fresh(i) for i in range(3))]
    assert set(next_merge(files, closed=True, small_files=10) or ()) == set(files)
    assert next_merge([fresh(1)], closed=True, small_files=10) == (fresh(1),)  # a single file, but in the order of offsets
    assert is_compact([merged(1)])
    assert not is_compact([merged(1), fresh(1)])


def test_many_parts_are_merged_among_themselves_first() -> None:
    files = [fresh(i) for i in range(MAX_INPUTS + 5)]
    group = next_merge([merged(1), *files], closed=True, small_files=10)
    assert group == tuple(files[:MAX_INPUTS])


def test_no_merge_is_larger_than_an_object_may_be() -> None:
    halves = [merged(i, MAX_BYTES * 2 // 3) for i in range(3)]
    assert next_merge(halves, closed=True, small_files=10) is None
    assert next_merge([*halves, fresh(1, MAX_BYTES * 2)], closed=True, small_files=10) == (fresh(1, MAX_BYTES * 2),)


@pytest.mark.parametrize("seed", range(5))
def test_merging_ends(seed: int) -> None:
    """For any sizes, each merge leaves fewer files or fewer parts, and a closed day becomes compact."""
    chance = random.Random(seed)
    files = [fresh(i, chance.choice([1000, 5 * MB, 600 * MB])) for i in range(chance.randrange(1, 60))]
    for step in range(200):
        group = next_merge(files, closed=True, small_files=10)
        if group is None:
            break
        assert set(group) <= set(files)
        files = [one for one in files if one not in group]
        size = max(1, round(sum(one.size for one in group) * 0.9))
        files.append(merged(1000 + step, size))
    assert is_compact(files)


def test_name_of_a_merge_is_a_function_of_its_inputs() -> None:
    first = Compacted.of(["b", "a"], DAY)
    assert first == Compacted.of(["a", "b"], DAY) != Compacted.of(["a"], DAY)
    assert first.path.startswith("year=2026/month=3/day=1/part-compacted-")
    assert first.staged_path.startswith("_staging/")
    assert first.staged_path.endswith(".tmp")


def test_day_closes_after_its_end_and_once_it_is_quiet() -> None:
    end = datetime(2026, 3, 2, tzinfo=UTC)
    late = DayFile(fresh(1).path, 1, 1, round((end.timestamp() + 3600) * 1000), DAY)

    def closed(after_end: timedelta, *files: DayFile) -> bool:
        return DayRule(end + after_end, timedelta(minutes=30), timedelta(minutes=2)).closed(DAY, list(files))

    assert not closed(timedelta(minutes=29), fresh(1))
    assert closed(timedelta(minutes=30), fresh(1))
    assert not closed(timedelta(minutes=61), late)
    assert closed(timedelta(minutes=62), late)
    assert closed(timedelta(minutes=61), DayFile(merged(1).path, 1, 1, late.modified_ms, DAY))
