"""Maintenance with a real MinIO: rows are unchanged for both readers, at any step and after any kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cryptoviz.components import Probe
from cryptoviz.lake import Lake
from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.files import read_commit
from cryptoviz.lake.objects import S3Access, minio_client, table_address
from cryptoviz.lake.parts import parse_compacted
from cryptoviz.lake.progress import read_progress
from cryptoviz.operations import MaintenanceArguments
from cryptoviz.settings import SETTINGS_FILE_VARIABLE, Settings, child_environment, dump_settings_file
from spark_jobs.maintenance.actor import MaintenanceActor, MaintenanceOperation
from spark_jobs.maintenance.compaction import merge as compact
from spark_jobs.maintenance.compaction.sorted_merge import Layout, Merged, merge
from spark_jobs.maintenance.result import RoundResult
from spark_jobs.maintenance.round import run_round
from spark_jobs.maintenance.steps import STEPS, RoundContext
from spark_jobs.tables.orphans import remove_orphans
from spark_jobs.tables.table_log import TableLog
from tests.support.engines import object_store
from tests.support.files import contents
from tests.support.lake_tables import SCHEMAS, TOPIC, TableWriter, dead_rows, delta_rows, object_names, plain_rows, price_rows, raw_rows
from tests.support.measure import say
from tests.support.waiting import eventually_async

pytestmark = [pytest.mark.integration]

DAY_MS = 86_400_000
START = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1000)
NOON = START + DAY_MS // 2
OURS = [step for step in STEPS if step.name != "gaps"]  # which needs Kafka
STAGES = ("merged", "staged", "proved", "copied", "committed", "deleted")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Settings]:
    with object_store(tmp_path, raw_keep_days=None, compact_files=8) as settings:
        yield settings


def prices(ticks: Sequence[int], first_offset: int) -> pa.Table:
    return price_rows(ticks, first_offset=first_offset, seed=first_offset)


def minutes(count: int, start: int = START) -> list[int]:
    return [start + i * 60_000 for i in range(count)]


def a_round(settings: Settings, when_ms: int | None = None) -> RoundResult:
    """Run one round, now or with the wall clock at `when_ms`. It must succeed."""
    now = datetime.now(UTC) if when_ms is None else datetime.fromtimestamp(when_ms / 1000, UTC)
    result = run_round(RoundContext(settings, settings.home / "scratch", now=lambda: now), OURS)
    assert not result.failures
    return result


def data_names(settings: Settings, table: str) -> list[str]:
    return [name for name in object_names(settings, table) if name.endswith(".parquet")]


def marker(settings: Settings, table: str, folder: str) -> dict[str, object]:
    address = table_address(settings.s3, table)
    response = minio_client(S3Access.of(settings.s3)).get_object(address.bucket, address.key(f"{folder}/_SUCCESS"))
    try:
        found: dict[str, object] = json.loads(response.read())
        return found
    finally:
        response.close()
        response.release_conn()


def test_closed_days_become_one_sorted_file_each_with_a_marker(store: Settings) -> None:
    """Three tables; late rows remove the marker until their day is one file again; a round without work changes nothing."""
    tables = ("prices", "raw", "dead_letters")
    writer, raw, dead = (TableWriter(store, table) for table in tables)
    writer.batches(prices, minutes(60) + minutes(60, START + DAY_MS), 5)
    raw.batches(raw_rows, minutes(30), 3)
    dead.batches(dead_rows, minutes(10), 5)
    before = {table: delta_rows(store, table) for table in tables}
    progress = writer.log.progress
    result = a_round(store)
    assert (result.figures["files_before"], result.figures["files_after"], result.figures["days_marked"]) == (12 * 2 + 10 + 2, 4, 4)
    for table in tables:
        assert delta_rows(store, table).equals(before[table])
        assert plain_rows(store, table).equals(before[table])
    names = data_names(store, "prices")
    assert [name.rpartition("/")[0] for name in names] == ["year=2026/month=3/day=1", "year=2026/month=3/day=2"]
    assert all(parse_compacted(name) for name in names)
    assert marker(store, "prices", "year=2026/month=3/day=1") == {"version": 1, "rows": 60 * 17, "files": [names[0].rpartition("/")[2]]}
    address = table_address(store.s3, "prices")
    sorted_rows = pq.read_table(f"{address.root}/{names[0]}", filesystem=S3Access.of(store.s3).filesystem())
    keys = list(zip(sorted_rows["asset_id"].to_pylist(), sorted_rows["tick_ts"].to_pylist(), strict=True))
    assert keys == sorted(keys)

    assert "files_before" not in a_round(store).figures
    newest = DeltaTable(address.uri, storage_options=store.s3.storage_options())
    assert read_progress(newest) == progress  # repeated by the commits of maintenance
    assert newest.count() == before["prices"].num_rows

    writer.write(prices([START + 90_000], writer.next_offset))
    waiting = store.model_copy(update={"lake": store.lake.model_copy(update={"quiet_s": 1e9})})
    assert a_round(waiting).figures["days_unmarked"] == 1
    assert f"{names[0].rpartition('/')[0]}/_SUCCESS" not in object_names(store, "prices")
    a_round(store)
    again = data_names(store, "prices")
    assert (len(again), again[1]) == (2, names[1])
    assert marker(store, "prices", "year=2026/month=3/day=1")["rows"] == 61 * 17
    assert plain_rows(store, "prices").equals(delta_rows(store, "prices"))


def test_a_round_opens_a_table_once_and_can_see_later_commits(store: Settings) -> None:
    writer = TableWriter(store, "prices")
    writer.batches(prices, minutes(3), 1)
    context = RoundContext(store, store.home / "scratch")
    table = context.newest("prices")
    assert table is not None
    before = table.version()
    writer.write(prices([START + 90_000], writer.next_offset))
    assert (context.open("prices"), table.version()) == (table, before)
    assert (context.newest("prices"), table.version()) == (table, before + 1)
    assert context.newest("raw") is None
    TableWriter(store, "raw").batches(raw_rows, minutes(1), 1)
    assert context.open("raw") is not None


def test_small_files_of_the_present_day_are_merged_past_a_limit(store: Settings) -> None:
    writer = TableWriter(store, "prices")
    writer.batches(prices, minutes(7), 1)
    assert "merges" not in a_round(store, NOON).figures
    writer.batches(prices, minutes(4, START + 3_600_000), 1)
    before = delta_rows(store, "prices")
    assert a_round(store, NOON).figures["files_before"] == 11
    assert len(data_names(store, "prices")) == 1
    assert "year=2026/month=3/day=1/_SUCCESS" not in object_names(store, "prices")
    assert delta_rows(store, "prices").equals(before)
    assert plain_rows(store, "prices").equals(before)


def test_killed_anywhere_it_continues_with_the_same_rows(store: Settings) -> None:
    """kill -9 at each stage: Delta readers are correct at once, plain readers after the next round; the lake job may start in between."""
    writer = TableWriter(store, "prices")
    settings_file = store.run_dir / "child.json"
    dump_settings_file(store, settings_file)
    environment = child_environment({SETTINGS_FILE_VARIABLE: str(settings_file)})
    client, address = minio_client(S3Access.of(store.s3)), table_address(store.s3, "prices")
    for number, stage in enumerate(STAGES):
        writer.batches(prices, minutes(12, START + number * DAY_MS), 3)
        expected = delta_rows(store, "prices")
        child = subprocess.run(
            [sys.executable, "-m", "tests.integration.maintenance_child", stage, str(store.home / "scratch")],
            env=environment, cwd=Path(__file__).parents[2], timeout=300, check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert child.returncode == -signal.SIGKILL, child.stderr
        assert delta_rows(store, "prices").equals(expected), stage
        # A lake job that starts now: fences, and removes leftovers.
        job = TableLog(address, SCHEMAS["prices"], store.s3.storage_options(), f"job-{number}")
        job.open()
        remove_orphans(client, address, job.log_state())
        writer.log = job
        assert delta_rows(store, "prices").equals(expected), stage
        a_round(store)
        assert delta_rows(store, "prices").equals(expected), stage
        assert plain_rows(store, "prices").equals(expected), stage
        assert len(data_names(store, "prices")) == number + 1
        assert not [name for name in object_names(store, "prices") if name.startswith("_staging/")]


class Repeat(threading.Thread):
    """Calls `work` until stopped; collects its exceptions in `errors`."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.done = threading.Event()
        self.errors: list[BaseException] = []

    def run(self) -> None:
        while not self.done.is_set():
            try:
                self._work()
            except BaseException as error:  # noqa: BLE001 (reported by the test)
                self.errors.append(error)
                return

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.join(240)

    def __enter__(self) -> Self:
        self.start()
        return self


@pytest.mark.parametrize("least", [4, pytest.param(30, marks=pytest.mark.long)], ids=str)
def test_readers_in_a_loop_never_see_a_wrong_snapshot(store: Settings, least: int) -> None:
    """A lake job commits and readers read while files are merged. A Delta snapshot has exactly the rows up to the offset that it names."""
    writer = TableWriter(store, "prices")
    ticks = iter(minutes(100_000))
    assets = ("bitcoin", "ethereum")
    writer.write(price_rows([next(ticks)], assets=assets))
    address, options = table_address(store.s3, "prices"), store.s3.storage_options()
    lake = Lake(store)
    snapshots: list[int] = []
    seen = [0]
    plain: list[bool] = []

    def commit() -> None:
        writer.write(price_rows([next(ticks)], first_offset=writer.next_offset, assets=assets))

    def read_delta() -> None:
        table = DeltaTable(address.uri, storage_options=options)
        commit = read_commit(S3Access.of(store.s3), address, table.version())
        assert commit is not None
        assert commit.progress is not None
        assert table.count() == commit.progress.offsets[TOPIC, 0]
        snapshots.append(table.version())

    def read_rows() -> None:
        offsets = lake.prices(columns=["kafka_offset"]).arrow().column("kafka_offset").to_pylist()
        assert sorted(offsets) == list(range(len(offsets)))
        assert len(offsets) >= seen[-1]
        seen.append(len(offsets))

    def read_plain() -> None:
        try:
            offsets = plain_rows(store, "prices").column("kafka_offset").to_pylist()
        except OSError:  # listed, then replaced: an error, not wrong rows
            plain.append(False)
        else:
            plain.append(len(offsets) == len(set(offsets)))

    merges, windows = 0.0, []
    with Repeat(commit) as commits, Repeat(read_delta) as deltas, Repeat(read_rows) as rows, Repeat(read_plain) as plains:
        while (merges < least or len(set(snapshots)) <= least) and not any(one.errors for one in (commits, deltas, rows, plains)):
            result = a_round(store, NOON)
            merges += result.figures.get("merges", 0)
            windows.append(result.window_ms)
    for one in (commits, deltas, rows, plains):
        assert not one.errors, one.errors
    say(f"commits {writer.next_offset // 2}, merges {merges:.0f}, plain window ms {max(windows):.0f} at most; ",
        f"delta snapshots {len(snapshots)} right, plain reads {plain.count(True)} right, {plain.count(False)} not")  # fmt: skip
    a_round(store)
    assert plain_rows(store, "prices").equals(delta_rows(store, "prices"))
    assert delta_rows(store, "prices").num_rows == writer.next_offset


def test_merge_that_changes_a_row_is_thrown_away(store: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = TableWriter(store, "prices")
    writer.batches(prices, minutes(4), 2)
    before, names = delta_rows(store, "prices"), object_names(store, "prices")

    def spoil(sources: list[Path], target: Path, layout: Layout) -> Merged:
        done = merge(sources, target, layout)
        rows = pq.read_table(target).cast(layout.schema)
        pq.write_table(rows.set_column(10, "price", pa.array([1.0, *rows["price"].to_pylist()[1:]])).cast(layout.schema), target)
        return done

    monkeypatch.setattr(compact, "merge", spoil)
    result = run_round(RoundContext(store, store.home / "scratch"), OURS)
    assert [failure for failure in result.failures if "failed its row check" in failure] == list(result.failures) != []
    assert (object_names(store, "prices"), delta_rows(store, "prices").equals(before)) == (names, True)


def test_old_days_go_after_their_retention(tmp_path: Path) -> None:
    with object_store(tmp_path, raw_keep_days=3) as settings:
        raw, kept = TableWriter(settings, "raw"), TableWriter(settings, "prices")
        for day in range(6):
            raw.write(raw_rows(minutes(2, START + day * DAY_MS), raw.next_offset))
            kept.write(prices(minutes(2, START + day * DAY_MS), kept.next_offset))
        a_round(settings, START + 5 * DAY_MS + 1)
        assert {name.rpartition("/")[0] for name in object_names(settings, "raw")} == {f"year=2026/month=3/day={day}" for day in (3, 4, 5, 6)}
        assert delta_rows(settings, "raw").equals(plain_rows(settings, "raw"))
        assert delta_rows(settings, "prices").num_rows == kept.rows
        raw.write(raw_rows(minutes(2, START + 5 * DAY_MS), raw.next_offset))  # the job continues
        assert delta_rows(settings, "raw").num_rows == 4 * 4 + 4


async def test_component_runs_rounds_in_a_child_and_so_does_the_operation(store: Settings) -> None:
    writer = TableWriter(store, "prices")
    writer.batches(prices, minutes(4), 2)
    actor = MaintenanceActor(store)
    await actor.start()

    async def first_round() -> Probe | None:
        probe = await actor.probe()
        return probe if probe.metrics["rounds_total"] else None

    probe = await eventually_async(first_round, 120)
    assert probe is not None
    assert (probe.running, probe.metrics["files_before_total"], probe.metrics["files_after_total"]) == (True, 2, 1)
    await actor.stop()
    said: list[str] = []
    done = await MaintenanceOperation(store, "op1", MaintenanceArguments(tables=("prices",))).run(lambda progress: said.append(progress.message))
    assert "merged 0 files" in done.message
    secret = store.s3.secret_key.get_secret_value()
    assert secret not in (store.log_dir / "maintenance.log").read_text()
    holders = [path for path, content in contents(store.run_dir) if secret.encode() in content]
    assert [(path.name, path.stat().st_mode & 0o777) for path in holders] == [("minio.password", 0o600)]  # MinIO's own, created by its start


def test_a_lost_object_store_is_reported_and_nothing_is_lost(store: Settings) -> None:
    """A round without a store reports an error for each step; the next round continues."""
    writer = TableWriter(store, "prices")
    writer.batches(prices, minutes(4), 2)
    away = store.model_copy(update={"s3": store.s3.model_copy(update={"endpoint": "http://127.0.0.1:9"})})
    result = run_round(RoundContext(away, store.home / "scratch"), OURS)
    assert {failure.partition(":")[0] for failure in result.failures} >= {"sweep", "compact", "mark"}
    a_round(store)
    assert len(data_names(store, "prices")) == 1
