"""The gap ledger in a real object store: gaps are found once, unchanged when found again, filled, and the same for every reader."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import date
from typing import Any

import orjson
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.audit import RECORDER, TICK
from cryptoviz.audit import RULES_WHOLE as RULES
from cryptoviz.gaps import DROPPED, NOT_RUNNING, Gap, GapScope, GapState
from cryptoviz.lake import Lake, gap_ledger
from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.gap_ledger import gaps_address, read_gaps
from cryptoviz.lake.objects import S3Access, minio_client, table_address
from cryptoviz.lake.schema import PARTITION_BY, PRICES, RAW
from cryptoviz.records import Kind, UnifiedRecord, event_id
from cryptoviz.settings import Settings, claim_home, load_settings
from spark_jobs.gaps.ledger_update import Findings
from spark_jobs.gaps.ledger_update import find_gaps as update_ledger
from spark_jobs.maintenance.steps import RoundContext
from tests.support.engines import engines
from tests.support.lake_readers import by_folder
from tests.support.ports import free_port
from tests.support.records import exchange, record

pytestmark = pytest.mark.integration

STEP = 60_000
MIDNIGHT = 1_764_115_200_000  # 2025-11-26T00:00:00Z
DAYS = (date(2025, 11, 25), date(2025, 11, 26))
BITCOIN, ETHEREUM = DEFAULT_ASSETS[:2]
NOW = MIDNIGHT + 86_400_000


@pytest.fixture
def settings(tmp_path: Any) -> Iterator[Settings]:
    """An object store without Kafka: detection is limited by the lake's progress."""
    made = claim_home(
        load_settings(
            home=tmp_path,
            crypto_list=("bitcoin", "ethereum"),
            kafka={"port": free_port()},
            s3={"port": free_port(), "console_port": free_port()},
            collect={"tick_s": STEP / 1000},
        )
    )
    with engines(made, "object-store"):
        yield made


def tick(number: int) -> int:
    """A tick by its offset from midnight."""
    return MIDNIGHT + number * STEP


def find_gaps(settings: Settings, now_ms: int) -> Findings | None:
    """Update the ledger with tables opened as in a round."""
    return update_ledger(settings, now_ms, RoundContext(settings, settings.home).newest)


def commit(settings: Settings, name: str, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows like the lake job, in one commit."""
    schema = PRICES if name == "prices" else RAW
    columns: dict[str, list[Any]] = {column.name: [] for column in schema}
    for number, row in enumerate(rows):
        day = DAYS[row["tick_ts"] >= MIDNIGHT]
        place = {"kafka_topic_id": "topic", "kafka_partition": 0, "kafka_offset": number, "year": day.year, "month": day.month, "day": day.day}
        for column in schema:
            value = (row | place)[column.name]
            columns[column.name].append(value * 1000 if pa.types.is_timestamp(column.type) and value is not None else value)
    table = pa.table([pa.array(values, schema.field(name).type) for name, values in columns.items()], schema)
    uri = table_address(settings.s3, name).uri
    write_deltalake(uri, table, mode="append", partition_by=list(PARTITION_BY), storage_options=settings.s3.storage_options())


def collected(settings: Settings, numbers: Sequence[int], step: int = STEP, without: Sequence[int] = (), **more_told: Any) -> None:
    """Ticks like the collector's: two coins each (no ethereum on those in `without`), a raw exchange, a tick record."""
    rows = [record(tick(number), asset) for number in numbers for asset in (BITCOIN, ETHEREUM) if asset is BITCOIN or number not in without]
    commit(settings, "prices", [asdict(row) for row in rows])
    body = orjson.dumps({"v": 1, "tick_ms": step, "results": {"coingecko": {}}, "absent": {}, "idle": ["kraken"], **more_told}).decode()
    raw = [exchange(tick(number), **more) for number in numbers for more in ({}, {"provider": RECORDER, "endpoint": TICK, "body": body})]
    commit(settings, "raw", [asdict(row) | {"rate_limit_headers": None} for row in raw])


def failed(settings: Settings, numbers: Sequence[int]) -> None:
    """Ticks without a response, like the collector's: tick records, and the rules with the requested assets."""
    rules = orjson.dumps({"v": 1, "assets": [{"asset_id": "bitcoin"}, {"asset_id": "ethereum"}]}).decode()
    common = {"v": 1, "tick_ms": STEP, "rules": hashlib.blake2b(rules.encode(), digest_size=16).hexdigest(), "idle": []}
    body = orjson.dumps(common | {"results": {"coingecko": {"failure": "unavailable"}}, "absent": {}}).decode()
    own = [exchange(tick(number), provider=RECORDER, endpoint=TICK, body=body) for number in numbers]
    rows = [exchange(tick(numbers[0]), provider=RECORDER, endpoint=RULES, body=rules), *own]
    commit(settings, "raw", [asdict(row) | {"rate_limit_headers": None} for row in rows])


def test_ticks_count_from_the_first_one_though_no_price_ever_came(settings: Settings) -> None:
    failed(settings, [1, 2, 3, 4])
    # Four ticks of each coin, one gap each, although the prices table does not exist yet.
    assert find_gaps(settings, tick(5)) == Findings(days_read=1, days_changed=1, open_gaps=2, open_ticks=8)
    assert listed(read_gaps(settings)) == [("bitcoin", 1, 4, "unavailable", "open"), ("ethereum", 1, 4, "unavailable", "open")]
    assert listed(read_gaps(settings), GapScope.PROVIDER) == [("coingecko", 1, 4, "unavailable", "open")]
    # After the first prices earlier gaps remain.
    collected(settings, [6, 7])
    find_gaps(settings, tick(9))
    assert listed(read_gaps(settings)) == [
        ("bitcoin", 1, 4, "unavailable", "open"),
        ("ethereum", 1, 4, "unavailable", "open"),
        ("bitcoin", 5, 5, NOT_RUNNING, "open"),
        ("ethereum", 5, 5, NOT_RUNNING, "open"),
    ]


def test_a_ledger_that_is_replaced_during_a_read_is_read_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    failed(settings, [1, 2])
    find_gaps(settings, tick(3))
    opened = []

    def rows_after_the_next_round(table: DeltaTable) -> list[dict[str, Any]]:
        opened.append(table.version())
        if len(opened) == 1:
            failed(settings, [3, 4])
            find_gaps(settings, tick(5))
        return read_rows(table)

    read_rows = gap_ledger._rows
    monkeypatch.setattr(gap_ledger, "_rows", rows_after_the_next_round)
    assert listed(read_gaps(settings)) == [("bitcoin", 1, 4, "unavailable", "open"), ("ethereum", 1, 4, "unavailable", "open")]
    assert opened[-1] > opened[0]


def brought(settings: Settings, rows: Sequence[UnifiedRecord]) -> None:
    """Rows of a backfill."""
    filled = [replace(row, kind=Kind.BACKFILL, event_id=event_id(row.asset_id, row.tick_ts, Kind.BACKFILL), provider="binance") for row in rows]
    commit(settings, "prices", [asdict(row) for row in filled])


def listed(gaps: Sequence[Gap], scope: GapScope = GapScope.ASSET) -> list[tuple[str, int, int, str, str]]:
    """Subject, from, to (in ticks from midnight), reason and state of each gap."""
    mine = [gap for gap in gaps if gap.scope is scope]
    return [(gap.subject, (gap.from_ms - MIDNIGHT) // STEP, (gap.to_ms - MIDNIGHT) // STEP, gap.reason, str(gap.state)) for gap in mine]


def plain(settings: Settings) -> list[str]:
    """Ids of gaps for a plain reader of the folder."""
    return sorted(by_folder(settings, "gaps")["gap_id"].to_pylist())


def test_the_ledger_from_the_first_look_to_the_last_fill(settings: Settings) -> None:
    assert find_gaps(settings, NOW) is None
    assert read_gaps(settings) == []
    # From nine minutes before midnight to ten after: not running across midnight, and one tick without a price for a coin.
    collected(settings, [*range(-9, -2), *range(2, 6), *range(7, 11)], without=[4])
    commit(settings, "raw", [asdict(exchange(tick(6))) | {"rate_limit_headers": None}])  # polled, and the tick was lost

    first = find_gaps(settings, NOW)
    expected = [
        ("bitcoin", -2, -1, NOT_RUNNING, "open"),
        ("ethereum", -2, -1, NOT_RUNNING, "open"),
        ("bitcoin", 0, 1, NOT_RUNNING, "open"),
        ("ethereum", 0, 1, NOT_RUNNING, "open"),
        ("ethereum", 4, 4, "missing_asset", "open"),
        ("bitcoin", 6, 6, DROPPED, "open"),
        ("ethereum", 6, 6, DROPPED, "open"),
    ]
    assert listed(read_gaps(settings)) == expected
    assert listed(read_gaps(settings), GapScope.PROVIDER) == [
        ("coingecko", -2, -1, NOT_RUNNING, "open"), ("kraken", -2, -1, NOT_RUNNING, "open"),
        ("coingecko", 0, 1, NOT_RUNNING, "open"), ("kraken", 0, 1, NOT_RUNNING, "open"),
        ("kraken", 6, 6, DROPPED, "open"),
    ]  # fmt: skip
    assert first == Findings(days_read=2, days_changed=2, open_gaps=7, open_ticks=11)
    known = read_gaps(settings)

    # Without changes nothing is read. Without the stored state everything is read, with the same result and `found_ts`.
    assert find_gaps(settings, NOW + STEP) == replace(first, days_read=0, days_changed=0)
    address = gaps_address(settings)
    minio_client(S3Access.of(settings.s3)).remove_object(address.bucket, address.key("_state.json"))
    assert find_gaps(settings, NOW + 2 * STEP) == replace(first, days_changed=0)
    assert read_gaps(settings) == known

    brought(settings, [record(tick(-2)), record(tick(-1)), record(tick(-1), ETHEREUM)])
    assert find_gaps(settings, NOW + 3 * STEP) == Findings(days_read=1, days_changed=1, open_gaps=6, open_ticks=8)
    after = read_gaps(settings)
    assert [(gap.subject, gap.state, gap.filled, gap.filled_by, gap.filled_ms) for gap in after[:2]] == [
        ("bitcoin", GapState.FILLED, 2, ("binance",), tick(-1) + 250),
        ("ethereum", GapState.PARTLY, 1, ("binance",), tick(-1) + 250),
    ]
    assert {gap.gap_id: gap.found_ms for gap in after} == {gap.gap_id: gap.found_ms for gap in known}

    # A coarser grid from the next tick on: ticks that it does not have are no gaps.
    collected(settings, [15, 20, 30], step=5 * STEP)
    find_gaps(settings, NOW + 4 * STEP)
    assert listed(read_gaps(settings))[-2:] == [("bitcoin", 25, 25, NOT_RUNNING, "open"), ("ethereum", 25, 25, NOT_RUNNING, "open")]
    assert [row for row in listed(read_gaps(settings)) if row[1] in range(11, 15)] == [
        ("bitcoin", 11, 14, NOT_RUNNING, "open"),
        ("ethereum", 11, 14, NOT_RUNNING, "open"),
    ]

    # A record after midnight reports two ticks before it: dropped, and unplanned. The next round evaluates the previous day again.
    dropped, unplanned = [tick(-2), tick(-2), STEP], [tick(-1), tick(-1), STEP]
    collected(settings, [35], step=5 * STEP, dropped=[dropped], unplanned=[unplanned])
    find_gaps(settings, NOW + 5 * STEP)
    found = find_gaps(settings, NOW + 6 * STEP)
    assert found is not None
    assert found.days_changed == 1
    assert listed(read_gaps(settings))[:2] == [("bitcoin", -2, -2, DROPPED, "filled"), ("ethereum", -2, -2, DROPPED, "open")]
    found = find_gaps(settings, NOW + 7 * STEP)
    assert found is not None
    assert found.days_read == 0

    ids = sorted(gap.gap_id for gap in read_gaps(settings))
    assert len(set(ids)) == len(ids)
    assert plain(settings) == ids
    lake = Lake(settings)
    assert sorted(lake.gaps(columns=["gap_id"]).arrow()["gap_id"].to_pylist()) == ids
    asked = lake.query("SELECT asset_id, sum(missing - filled)::BIGINT AS n FROM gaps WHERE scope = 'asset' GROUP BY ALL ORDER BY ALL").arrow()
    assert asked.to_pylist() == [{"asset_id": "bitcoin", "n": 8}, {"asset_id": "ethereum", "n": 10}]
