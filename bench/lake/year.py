"""A year of commits, compressed: the same days on a new table and on one of a year's age, with the log's clean-up.

A year of a 60 s tick makes some two million commits in all tables. Its table is made directly: 365 compacted days, and a log that begins with a
checkpoint of version 2 000 000, as clean-up leaves it. Then days of real commits and rounds of maintenance follow, at a clock of their own.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench.lake.day import growth
from bench.lake.environment import engines
from bench.lake.figures import Figure, Part
from bench.lake.maintenance_rounds import later, tend, tend_until_done
from bench.lake.records import START_MS
from bench.lake.rowcheck import row_check
from bench.lake.tables import TOPIC_ID, day_of_rows, day_rows, days_of_rows, open_log, put_parts, table_bytes
from bench.lake.usage import Family
from cryptoviz.errors import EngineUnavailable
from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import S3Access, minio_client, read_object, table_address
from cryptoviz.settings import Settings
from spark_jobs.maintenance.steps import LAYOUTS
from spark_jobs.tables.parquet import WrittenPart
from spark_jobs.tables.table_log import TableLog

__all__ = ["Sizes", "year"]

_COINS = 17
_TICK_MS = 60_000
_YEAR_DAYS, _YEAR_COMMITS = 365, 2_000_000
_OLD_TICK_MS = 3_600_000  # rows of the year before: few, since their files are only listed
_DAYS_A_COMMIT = 30
_LOG_KEPT_S = 20.0
"""The log's retention, a day, at the benchmark's clock."""
_MOST_GROWTH = 0.1


@dataclass(frozen=True, slots=True)
class Sizes:
    """Days of 1 440 commits on each of the two tables, and rounds of maintenance in each day."""

    days: int = 12
    rounds: int = 4


@dataclass(frozen=True, slots=True)
class _Day:
    """Figures of one day: means of its commits and rounds, and what is left at its end."""

    commit_ms: float
    open_ms: float
    store_s: float
    round_s: float
    round_mb: float
    store_mb: float
    log_objects: float
    log_kb: float
    data_files: float


_NAMES = {
    "commit_ms": "processor time of a commit, ms",
    "open_ms": "processor time to open the table, ms",
    "store_s": "processor time of MinIO in a day, s",
    "round_s": "a round of maintenance, s",
    "round_mb": "peak memory of a round, MB",
    "store_mb": "memory of MinIO, MB PSS",
    "log_objects": "objects of the log",
    "log_kb": "bytes of the log, kB",
    "data_files": "data files",
}


def year(sizes: Sizes) -> Part:
    """Commits follow each other without a pause."""
    with engines(lake={"compact_files": 240}) as settings:
        young = list(_days(settings, open_log(settings), _first_day(), sizes))
        young_proof = row_check(settings, sizes.days * 1440 * _COINS)
    with engines(lake={"compact_files": 240}) as settings:
        rows = _a_year_ago(settings)
        log = open_log(settings)
        old = list(_days(settings, log, _first_day(), sizes, rows))
        proof = row_check(settings, rows + sizes.days * 1440 * _COINS)
        version = DeltaTable(log.address.uri, storage_options=settings.s3.storage_options()).version()
    return Part(
        name="year",
        title="A year of commits, compressed",
        sizes=f"{sizes.days} days of 1 440 commits and {sizes.rounds} rounds of maintenance each, on a new table, and on one of {_YEAR_DAYS} days "
        f"and {_YEAR_COMMITS} commits; last version {version}",
        figures=tuple(_figure(name, young, old) for name in _NAMES),
        verifier=f"{proof}; of the new table: {young_proof}",
        notes=tuple(f"{_NAMES[name]}: new {_each(young, name)}; old {_each(old, name)}" for name in _NAMES),
    )


def _figure(name: str, young: list[_Day], old: list[_Day]) -> Figure:
    """The mean on the old table, beside the one on the new, and its growth in a year by a line through the days but the first quarter."""
    value, before = _mean(old, name), _mean(young, name)
    settled = old[len(old) // 4 :]
    slope = growth(list(range(len(settled))), [getattr(day, name) for day in settled]) / max(value, 1e-9)
    if name == "data_files":  # one for each closed day is what compaction promises
        return Figure(_NAMES[name], value, "", note=f"new table {before:.0f}")
    return Figure(
        _NAMES[name], round(value, 2), "", f"< {_MOST_GROWTH:.0%} growth a day", slope < _MOST_GROWTH, f"new table {before:.2f}; {slope:+.1%} a day"
    )


def _days(settings: Settings, log: TableLog, first: datetime, sizes: Sizes, offset: int = 0) -> Iterator[_Day]:
    """One day after the other: a commit for each tick, then the figures."""
    shift = (first - datetime.fromtimestamp(START_MS / 1000, UTC)).days
    base = day_rows(_TICK_MS, 1)
    family = Family()
    per_round = 1440 // sizes.rounds
    for day in range(sizes.days):
        rows = day_of_rows(base, shift + day, offset + day * base.num_rows)
        before, commit_s = family.usage(), 0.0
        rounds = []
        for first_tick in range(0, 1440, per_round):
            last_tick = min(first_tick + per_round, 1440)
            ticks = [rows.slice(tick * _COINS, _COINS) for tick in range(first_tick, last_tick)]
            for tick, part in zip(range(first_tick, last_tick), put_parts(settings, iter(ticks)), strict=True):
                begun = time.process_time()
                _commit(log, part, offset + day * base.num_rows + (tick + 1) * _COINS)
                commit_s += time.process_time() - begun
            rounds.append(tend(settings, first + timedelta(days=day, minutes=last_tick, hours=1), log_keep_s=_LOG_KEPT_S))
            if rounds[-1].failures:
                raise SystemExit(f"maintenance failed: {'; '.join(rounds[-1].failures)}")
        begun = time.process_time()
        DeltaTable(log.address.uri, storage_options=settings.s3.storage_options())
        open_s = time.process_time() - begun
        log_bytes = _log_sizes(settings)
        yield _Day(
            commit_ms=commit_s / 1440 * 1000,
            open_ms=open_s * 1000,
            store_s=family.usage().since(before).get("MinIO", 0.0),
            round_s=sum(one.took_ms for one in rounds) / len(rounds) / 1000,
            round_mb=max(one.peak_rss_mb for one in rounds),
            store_mb=family.memory_mb().get("MinIO", 0.0),
            log_objects=len(log_bytes),
            log_kb=sum(log_bytes) / 1000,
            data_files=table_bytes(settings)[1],
        )


def _commit(log: TableLog, part: WrittenPart, offset: int) -> None:
    """As the lake job does, commit again after an error: on a slow machine, the shortened retention ends within a round of maintenance."""
    for _ in range(2):
        try:
            log.commit([part], {(TOPIC_ID, 0): offset})
        except EngineUnavailable:
            continue
        return
    log.commit([part], {(TOPIC_ID, 0): offset})


def _a_year_ago(settings: Settings) -> int:
    """Write the table of a year; returns its rows."""
    log = open_log(settings)
    base = day_rows(_OLD_TICK_MS, 1).sort_by(LAYOUTS["prices"].order)
    shift = (_first_day() - datetime.fromtimestamp(START_MS / 1000, UTC)).days - _YEAR_DAYS
    for first in range(0, _YEAR_DAYS, _DAYS_A_COMMIT):
        last = min(first + _DAYS_A_COMMIT, _YEAR_DAYS)
        log.commit(put_parts(settings, days_of_rows(base, range(first, last), shift), LAYOUTS["prices"]), {(TOPIC_ID, 0): last * base.num_rows})
    tend_until_done(settings, later())
    table = DeltaTable(log.address.uri, storage_options=settings.s3.storage_options())
    table.create_checkpoint()
    _move_log(settings, table.version(), _YEAR_COMMITS)
    return int(base.num_rows) * _YEAR_DAYS


def _move_log(settings: Settings, version: int, to: int) -> None:
    """Give the checkpoint of a version, the newest, another version, and remove all other entries of the log."""
    address, client = table_address(settings.s3, "prices"), minio_client(S3Access.of(settings.s3))
    prefix = address.key("_delta_log/")
    names = [item.object_name for item in client.list_objects(address.bucket, prefix=prefix, recursive=True)]

    def put(name: str, data: bytes) -> None:
        client.put_object(address.bucket, name, io.BytesIO(data), len(data))

    put(f"{prefix}{to:020d}.checkpoint.parquet", read_object(client, address.bucket, f"{prefix}{version:020d}.checkpoint.parquet"))
    put(f"{prefix}{to:020d}.json", read_object(client, address.bucket, f"{prefix}{version:020d}.json"))
    put(
        f"{prefix}_last_checkpoint",
        json.dumps(json.loads(read_object(client, address.bucket, f"{prefix}_last_checkpoint")) | {"version": to}).encode(),
    )
    for name in names:
        if not name.endswith("_last_checkpoint"):
            client.remove_object(address.bucket, name)


def _log_sizes(settings: Settings) -> list[int]:
    address, client = table_address(settings.s3, "prices"), minio_client(S3Access.of(settings.s3))
    return [int(item.size or 0) for item in client.list_objects(address.bucket, prefix=address.key("_delta_log/"), recursive=True)]


def _first_day() -> datetime:
    """Tomorrow: a file's day is then closed and quiet at the benchmark's clock, although the file was written just now."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def _mean(days: list[_Day], name: str) -> float:
    return float(sum(getattr(day, name) for day in days) / len(days))


def _each(days: list[_Day], name: str) -> str:
    return " ".join(f"{getattr(day, name):.1f}" for day in days)
