"""Maintenance step that updates the gap ledger: compares the committed rows of each UTC day with the expected ticks.

Days whose files have not changed are not read again. Of the current day only the settled part counts: up to the newest recorded tick, or three ticks
ago, and no further than the lake's progress in Kafka, so that lag of the lake is not reported as a gap. Ticks are expected from the first recorded
tick on, with or without a price. Only one round of maintenance runs at a time.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import pyarrow as pa
from deltalake import write_deltalake
from minio.error import S3Error

from cryptoviz.errors import EngineUnavailable
from cryptoviz.gaps import SETTLE_TICKS, Gap, GapScope, GapState
from cryptoviz.lake.delta import TABLE_ERRORS, DeltaTable
from cryptoviz.lake.gap_ledger import gaps_address, read_gaps
from cryptoviz.lake.objects import S3Access, find_object, minio_client
from cryptoviz.lake.progress import read_progress
from cryptoviz.lake.schema import GAPS, PARTITION_BY
from cryptoviz.lake.store_errors import store_errors
from cryptoviz.lake.topic_reader import topic_ends
from cryptoviz.log import get_logger
from cryptoviz.settings import Settings
from cryptoviz.times import DAY_MS, utc
from spark_jobs.gaps.day_scan import DayScan, first_live, first_record_with_a_price, read_day
from spark_jobs.gaps.detect import DayContents, Era, day_gaps, eras_after, refilled

__all__ = ["Findings", "find_gaps"]

_STATE = "_state.json"
"""State file beside the table, ignored by Parquet readers. An optimization: without it every day is read again with the same result."""
_SETTLE_MS = 5_000
"""A tick's rows are committed within 1-2 s; after this time they count as missing."""
_SHARE = 20
"""Minimum interval between updates, as a multiple of the last one's duration: a day of short ticks takes seconds."""
_EPOCH = date(1970, 1, 1)

log = get_logger("maintenance")


@dataclass(frozen=True, slots=True)
class Findings:
    """Result of an update: days read, days whose ledger changed, and open gaps of assets with their ticks, over all days."""

    days_read: int = 0
    days_changed: int = 0
    open_gaps: int = 0
    open_ticks: int = 0


@dataclass
class _State:
    """State carried from day to day and between updates. Ticks are UTC epoch ms."""

    eras: tuple[Era, ...] = ()
    assets: dict[str, list[int]] = field(default_factory=dict)
    providers: tuple[str, ...] = ()
    lost: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    done: dict[str, str] = field(default_factory=dict)
    looked_ms: int = 0
    took_ms: int = 0

    def to_json(self) -> bytes:
        data = {"v": 1, "eras": [[era.from_ms, era.tick_ms] for era in self.eras], "assets": self.assets, "providers": self.providers}
        return json.dumps(data | {"lost": self.lost, "done": self.done, "looked_ms": self.looked_ms, "took_ms": self.took_ms}).encode()

    @classmethod
    def from_json(cls, content: bytes) -> _State:
        """Parse the output of `to_json`; an empty state for anything else."""
        try:
            data = json.loads(content)
            if data["v"] != 1:
                return cls()
            eras = tuple(Era(first, step) for first, step in data["eras"])
            return cls(eras, data["assets"], tuple(data["providers"]), data["lost"], data["done"], data["looked_ms"], data["took_ms"])
        except (ValueError, KeyError, TypeError):
            return cls()


def find_gaps(settings: Settings, now_ms: int, newest: Callable[[str], DeltaTable | None], *, at_once: bool = True) -> Findings | None:
    """Update the ledger. Returns None if the tables are empty, or, without `at_once`, if the last update was too recent. `newest` opens a table
    at its newest version; None before its first commit.

    Raises:
        EngineUnavailable: the object store does not answer. If Kafka does not answer, the newest ticks are not evaluated.
    """
    begun = time.monotonic()
    with store_errors(settings.s3.endpoint, "answer for the gap ledger", TABLE_ERRORS):
        state = _load_state(settings)
        if not at_once and _looked_lately(state, now_ms):
            return None
        tables = {name: newest(name) for name in ("prices", "raw")}
        to_come = _day(now_ms) + timedelta(days=2)
        days = _Days(tables, {name: _before(_files_by_day(table), to_come) for name, table in tables.items()})
        if days.newest is None:
            return None
        settled_ms = _settled_ms(settings, tables, days, now_ms)
        findings = _look(settings, state, days, settled_ms, now_ms) if settled_ms is not None else None
        state.looked_ms, state.took_ms = now_ms, round((time.monotonic() - begun) * 1000)
        _save_state(settings, state)
    return findings


Files = Mapping[date, Mapping[str, int]]
"""Size by path of the files of each day."""


class _Days:
    """Files of both tables by day. Caches the rows of the newest day, which are used several times."""

    def __init__(self, tables: Mapping[str, DeltaTable | None], files: Mapping[str, Files]) -> None:
        self._tables = tables
        self.files = files
        dates = [day for by_day in files.values() for day in by_day]
        self.oldest, self.newest = min(dates, default=None), max(dates, default=None)
        self._kept: DayScan | None = None

    def rows(self, day: date) -> DayScan:
        if day == self.newest and self._kept is not None:
            return self._kept
        found = read_day(self._tables, {name: by_day.get(day, {}) for name, by_day in self.files.items()})
        if day == self.newest:
            self._kept = found
        return found


def _looked_lately(state: _State, now_ms: int) -> bool:
    """Whether the last update was recent. One with a time in the future, written while the clock was ahead, does not count."""
    return 0 <= now_ms - state.looked_ms < _SHARE * state.took_ms


def _before(files: Files, day: date) -> Files:
    """The files without future days: a clock that was ahead wrote those, so no tick before them is missing. They count once their time comes."""
    return {one: of_day for one, of_day in files.items() if one < day}


def _look(settings: Settings, state: _State, days: _Days, settled_ms: int, now_ms: int) -> Findings:
    files = days.files
    ledger: dict[date, list[Gap]] = {}
    for gap in read_gaps(settings):
        ledger.setdefault(_day(gap.from_ms), []).append(gap)
    read = changed = 0
    for day in [day for day in ledger if day >= _day(now_ms) + timedelta(days=2)]:
        _write(settings, day, [])
        del ledger[day]
        state.done.pop(day.isoformat(), None)
    first, last = days.oldest or _day(settled_ms), _day(settled_ms)
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        mark = _mark(files, day, settled_ms)
        if state.done.get(day.isoformat()) == mark:
            continue
        read += 1
        before = {gap.gap_id: gap for gap in ledger.get(day, [])}
        expired = {name for name in files if _expired(settings, name, (last - day).days)}
        if day.isoformat() in state.done and "prices" in expired:
            continue  # its ledger stays unchanged
        rows = days.rows(day)
        if day.isoformat() in state.done and "raw" in expired:
            found = refilled(before.values(), rows.seen)
        else:
            _carry_lost(state, rows.seen, day.isoformat())
            judged = _judge(settings, state, rows, day, settled_ms, now_ms, with_providers="raw" not in expired)
            found = [_as_known(gap, before.get(gap.gap_id)) for gap in judged]
        if {gap.gap_id: gap for gap in found} != before:
            _write(settings, day, found)
            changed += 1
        ledger[day] = found
        state.done[day.isoformat()] = mark
    left = [gap for gaps in ledger.values() for gap in gaps if gap.scope is GapScope.ASSET and gap.state is not GapState.FILLED]
    return Findings(read, changed, len(left), sum(gap.missing - gap.filled for gap in left))


def _carry_lost(state: _State, seen: DayContents, day: str) -> None:
    """Add lost ticks to their day. They are reported by a later tick's record, maybe after midnight; then the next round evaluates the earlier day
    again.
    """
    for name in ("dropped", "unplanned"):
        of_days = state.lost.setdefault(name, {})
        for earlier, ticks in itertools.groupby(sorted(getattr(seen, name)), lambda tick: _day(tick).isoformat()):
            reported, known = set(ticks), set(of_days.get(earlier, ()))
            if earlier < day and reported - known:
                of_days[earlier] = sorted(reported | known)
                state.done.pop(earlier, None)
        setattr(seen, name, getattr(seen, name) | frozenset(of_days.get(day, ())))


def _expired(settings: Settings, table: str, age_days: int) -> bool:
    """Whether the rows of a day are past their retention, so that missing rows prove nothing."""
    lake = settings.lake
    keep = lake.raw_keep_days if table == "raw" else lake.prices_keep_days
    return keep is not None and age_days >= keep


def _judge(settings: Settings, state: _State, rows: DayScan, day: date, settled_ms: int, now_ms: int, *, with_providers: bool) -> list[Gap]:
    """Gaps of the day. Updates `state` for the following days."""
    seen = rows.seen
    if not state.eras:
        begun = [tick for tick in (first_live(seen), min(seen.records, default=None)) if tick is not None]
        if not begun:
            return []
        state.eras = (Era(min(begun), dict(rows.steps).get(min(begun), settings.collect.tick_ms)),)
    state.eras = eras_after(state.eras, rows.steps)
    for asset_id, ticks in seen.live.items():
        known = state.assets.setdefault(asset_id, [int(ticks[0]), int(ticks[-1])])
        known[:] = min(known[0], int(ticks[0])), max(known[1], int(ticks[-1]))
    for asset_id, (first_asked, last_asked) in rows.wanted.items():
        known = state.assets.setdefault(asset_id, [first_asked, last_asked])
        known[:] = min(known[0], first_asked), max(known[1], last_asked)
    if rows.providers:
        state.providers = rows.providers
    wanted = {asset.asset_id for asset in settings.assets}
    # An asset that is no longer configured is expected up to its last tick.
    assets = {asset_id: (first, now_ms if asset_id in wanted else last) for asset_id, (first, last) in state.assets.items()}
    start_ms = (day - _EPOCH).days * DAY_MS
    providers = state.providers if with_providers else ()
    return day_gaps(seen, state.eras, start_ms, min(start_ms + DAY_MS, settled_ms), assets, providers, now_ms)


def _as_known(gap: Gap, before: Gap | None) -> Gap:
    return gap if before is None else replace(gap, found_ms=before.found_ms)


def _settled_ms(settings: Settings, tables: Mapping[str, DeltaTable | None], days: _Days, now_ms: int) -> int | None:
    """Ticks before this time are evaluated. If the lake has caught up with Kafka: up to the newest recorded tick, since the collector publishes in
    order, and all ticks old enough. Otherwise: up to the newest committed price, or, without any, up to the first record with a price.
    """
    if days.newest is None:
        return None
    seen = days.rows(days.newest).seen
    behind_records = max(seen.records, default=-1) + 1
    if _caught_up(settings, tables):
        return max(now_ms - max(SETTLE_TICKS * settings.collect.tick_ms, _SETTLE_MS), behind_records)
    if days.files["prices"]:
        priced = days.rows(max(days.files["prices"])).seen
        return max((int(ticks[-1]) for ticks in priced.live.values()), default=None)
    on_its_way = first_record_with_a_price(seen)
    return on_its_way if on_its_way is not None else behind_records or None


def _caught_up(settings: Settings, tables: Mapping[str, DeltaTable | None]) -> bool:
    kafka = settings.kafka
    for name, topic in (("prices", kafka.stream_topic), ("raw", kafka.raw_topic)):
        table = tables[name]
        progress = None if table is None else read_progress(table)
        if progress is None and table is not None:
            return False
        offsets = {} if progress is None else progress.offsets
        try:
            topic_id, bounds = topic_ends(kafka, topic)
        except EngineUnavailable:
            return False
        if any(end > earliest and offsets.get((topic_id, part), 0) < end for part, (earliest, end) in bounds.items()):
            return False
    return True


def _files_by_day(table: DeltaTable | None) -> Files:
    if table is None:
        return {}
    actions = pa.table(table.get_add_actions(flatten=True)).sort_by("path")
    names = ("path", "size_bytes", *(f"partition.{name}" for name in PARTITION_BY))
    found: dict[date, dict[str, int]] = {}
    for path, size, year, month, day in zip(*(actions.column(name).to_pylist() for name in names), strict=True):
        found.setdefault(date(year, month, day), {})[path] = size
    return dict(sorted(found.items()))


def _mark(files: Mapping[str, Files], day: date, settled_ms: int) -> str:
    """Fingerprint of a day's input; changes if the day must be evaluated again: other files, or a larger settled part."""
    end_ms = ((day - _EPOCH).days + 1) * DAY_MS
    digest = hashlib.blake2b(digest_size=16)
    for name, by_day in sorted(files.items()):
        digest.update("\n".join((name, *by_day.get(day, ()))).encode())
    return f"{digest.hexdigest()}-{min(settled_ms, end_ms)}"


def _write(settings: Settings, day: date, gaps: Sequence[Gap]) -> None:
    """Replace a day's ledger in one commit and delete the replaced files."""
    address, options = gaps_address(settings), settings.s3.storage_options()
    rows = pa.Table.from_pylist([gap.to_row() for gap in gaps], GAPS)
    table = DeltaTable.create(address.uri, GAPS, mode="ignore", partition_by=list(PARTITION_BY), name="gaps", storage_options=options)
    predicate = f"year = {day.year} AND month = {day.month} AND day = {day.day}"
    write_deltalake(table, rows, mode="overwrite", predicate=predicate)
    # Plain readers of the folder must not see a gap twice.
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    log.info("gaps_found", day=day.isoformat(), gaps=len(gaps), open=sum(gap.state is GapState.OPEN for gap in gaps))


def _load_state(settings: Settings) -> _State:
    address = gaps_address(settings)
    try:
        content = find_object(minio_client(S3Access.of(settings.s3)), address.bucket, address.key(_STATE))
    except S3Error as error:
        if error.code != "NoSuchBucket":
            raise
        content = None
    return _State() if content is None else _State.from_json(content)


def _save_state(settings: Settings, state: _State) -> None:
    address, content = gaps_address(settings), state.to_json()
    minio_client(S3Access.of(settings.s3)).put_object(address.bucket, address.key(_STATE), io.BytesIO(content), len(content))


def _day(moment_ms: int) -> date:
    return utc(moment_ms).date()
