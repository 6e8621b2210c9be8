"""Candles from trades in SQL against the same logic in memory (`cryptoviz.trades.candles`), with drops, disorder and clocks that step back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoviz.lake.parts import Part, short_topic_id
from cryptoviz.lake.trade_candle_reader import has_news, trade_batches
from cryptoviz.lake.trade_ohlcv import (
    SUMS,
    TRADE_COLUMNS,
    TRADE_INTERVALS,
    TRADE_ROWS,
    base_of,
    merged_sql,
    read_upto,
    sums_sql,
    trade_candle_sql,
    upto_text,
    with_quote,
    without_upto,
)
from cryptoviz.trades.candle import TradeCandle
from cryptoviz.trades.candles import candles_of
from cryptoviz.trades.gap_tracker import GapTracker
from cryptoviz.trades.record import Trade
from tests.support.lake_tables import TOPIC, trade_rows
from tests.unit.trades.builders import START_US, trade

US = 1_000_000
_COMPARED = (
    "open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume", "trades", "first_trade", "last_trade",
    "complete", "source",
)  # fmt: skip


def rows_of(trades: Sequence[Trade]) -> pa.Table:
    columns: dict[str, Any] = {name: [getattr(one, name) for one in trades] for name in TRADE_COLUMNS}
    columns["price"] = [Decimal(text) for text in columns["price"]]
    columns["size"] = [Decimal(text) for text in columns["size"]]
    arrays = [pa.array(columns[name], pa.int64()).cast(TRADE_ROWS.field(name).type) if name == "venue_ts" else
              pa.array(columns[name], TRADE_ROWS.field(name).type) for name in TRADE_COLUMNS]  # fmt: skip
    batches = pa.table(arrays, schema=pa.schema([TRADE_ROWS.field(name) for name in TRADE_COLUMNS])).to_batches(max_chunksize=7)
    return pa.Table.from_batches([with_quote(batch) for batch in batches], TRADE_ROWS)


def candles(trades: Sequence[Trade], interval: str, *, quiet: bool = False, stored: int = 0) -> dict[int, dict[str, Any]]:
    """By start, UTC epoch us. The first `stored` trades are taken from sums of the stored interval."""
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("old", rows_of(trades[:stored]))
    connection.register("new", rows_of(trades[stored:]))
    base = base_of(interval) or interval
    both = f"(FROM ({sums_sql(base, 'old')}) UNION ALL FROM ({sums_sql(interval, 'new')}))"
    connection.execute(f"CREATE TABLE sums AS {merged_sql(interval, both)}")
    assert tuple(connection.table("sums").columns) == SUMS
    found = connection.sql(trade_candle_sql(interval, "sums", ("acme",) if quiet else ())).to_arrow_table().to_pylist()
    return {round(row["ts"].timestamp() * US): row for row in found}


def expected(trades: Sequence[Trade], interval: str, *, quiet: bool = False) -> dict[int, TradeCandle]:
    """What the logic in memory says, when these arrive in order of their ids."""
    tracker = GapTracker("acme", "A")
    for one in sorted(trades, key=lambda each: each.trade_number or 0):
        tracker.accept([one], START_US)
    return {one.open_us: one for one in candles_of(trades, interval, tracker.open_gaps(), tracker.seen_us or 0, quiet_rows=quiet)}


@st.composite
def streams(draw: st.DrawFn) -> list[Trade]:
    """Trades in any order of arrival, some missing."""
    at, found = 0.0, []
    for number in range(1, draw(st.integers(2, 40))):
        at += draw(st.sampled_from([0.0, 0.2, 1.0, 7.0, 59.0, 130.0, 700.0]))
        if draw(st.integers(0, 6)):
            price = draw(st.sampled_from(["100", "101.5", "99.25", "0.00003630", "37000.01"]))
            size = draw(st.sampled_from(["1", "0.5", "12345678.12345678", "0.00000001"]))
            found.append(trade(number, at_s=at, price=price, size=size, side=draw(st.sampled_from(["buy", "sell"]))))
    return draw(st.permutations(found))


@settings(max_examples=40, deadline=None)
@given(streams(), st.sampled_from(list(TRADE_INTERVALS)), st.booleans(), st.integers(0, 40))
def test_sql_says_what_the_logic_in_memory_says(trades: list[Trade], interval: str, quiet: bool, stored: int) -> None:
    if not trades:
        return
    found, wanted = candles(trades, interval, quiet=quiet, stored=stored), expected(trades, interval, quiet=quiet)
    assert found.keys() == wanted.keys()
    # Nothing proves that the recording had begun before the first candle, and the last one may still get trades.
    edges = {min(found), max(start for start, row in found.items() if row["trades"])}
    for start, row in found.items():
        names = [name for name in _COMPARED if name != "complete" or start not in edges]
        assert {name: row[name] for name in names} == {name: getattr(wanted[start], name) for name in names}
        assert row["vwap"] == (None if wanted[start].vwap is None else pytest.approx(float(wanted[start].vwap or 0), rel=1e-9))
    assert not any(found[start]["complete"] for start in edges)


def test_a_candle_is_complete_between_candles_whose_ids_meet() -> None:
    minutes = [trade(number, at_s=number * 60.0) for number in (1, 2, 3, 5, 6, 7)]
    assert [row["complete"] for _, row in sorted(candles(minutes, "1m").items())] == [False, True, False, False, True, False]


def test_a_late_trade_completes_its_candle() -> None:
    minutes = [trade(number, at_s=number * 60.0) for number in (1, 2, 3, 5, 6, 7, 4)]
    assert [row["complete"] for _, row in sorted(candles(minutes, "1m", stored=6).items())] == [False, *[True] * 5, False]


def test_ids_may_run_ahead_of_the_venues_clock_at_the_edge_of_two_candles() -> None:
    """Number 3 is of the earlier minute, number 2 of the later one: nothing is missing."""
    trades = [trade(1, at_s=50), trade(2, at_s=60.1), trade(3, at_s=59.9), trade(4, at_s=70), trade(5, at_s=120), trade(0, at_s=-1)]
    assert [row["complete"] for _, row in sorted(candles(trades, "1m").items())] == [False, True, True, False]
    without = [one for one in trades if one.trade_number != 3]
    assert [row["complete"] for _, row in sorted(candles(without, "1m").items())] == [False, True, False, False]


def test_sums_beyond_the_fast_types_are_exact_to_18_decimals() -> None:
    price, size = "12345678901234567890.123456789", "0.000000000000000003"
    row = candles([trade(1, price=price, size=size)], "1d")
    assert next(iter(row.values()))["quote_volume"] == Decimal("37.037036703703703670")
    assert next(iter(row.values()))["open"] == Decimal(price)


@pytest.mark.parametrize(
    ("price", "size"),
    [
        ("1", "99999999999999999999"),  # the largest size that is a valid amount
        ("1000000000000", "1000"),  # 10^15
        ("1000000000000", "1000000000000"),  # 10^24 has more digits than the column
        ("0.000000000000000001", "1000000000000000"),
    ],
)
def test_a_trade_that_no_sum_can_hold_costs_its_own_candle_only(price: str, size: str) -> None:
    every = [trade(n, at_s=60.0 * n, price="2", size="3") for n in (1, 2, 4, 5)]
    every += [trade(3, at_s=60.0 * 2 + 1, price=price, size=size), trade(6, at_s=301, price="2", size="99999999999999")]
    rows = [row for _, row in sorted(candles(every, "1m").items())]
    assert [(row["volume"], row["quote_volume"], row["trades"]) for row in rows] == [
        (3, 6, 1),
        (3, 6, 1),
        (3, 6, 1),
        (100_000_000_000_002, 200_000_000_000_004, 2),
    ]
    assert [row["complete"] for row in rows] == [False, False, False, False]
    whole = [row for _, row in sorted(candles([*every, trade(7, at_s=360)], "1m").items())]
    assert [row["complete"] for row in whole] == [False, False, False, True, False]
    kept = expected([*every, trade(7, at_s=360)], "1m")
    assert [(int(one.volume), one.trades) for _, one in sorted(kept.items())][:4] == [(3, 1), (3, 1), (3, 1), (100_000_000_000_002, 2)]
    assert not kept[START_US + 120 * US].complete


def test_the_largest_trades_of_an_interval_add_up() -> None:
    """100 000 of them: 10^20 is the first sum that the column cannot hold."""
    one = rows_of([trade(1, price="1", size="999999999999999.999999999999999999")])
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("one", one)
    connection.execute("CREATE TABLE every AS SELECT one.* FROM one, range(100000)")
    (found,) = connection.sql(sums_sql("1d", "every")).to_arrow_table().to_pylist()
    assert found["volume"] == found["quote_volume"] == Decimal("99999999999999999999.999999999999900000")


def test_rows_below_the_stored_offsets_are_left_out() -> None:
    batch = pa.record_batch({
        "kafka_topic_id": ["a", "a", "a", "b", "a"], "kafka_partition": pa.array([0, 0, 1, 0, 2], pa.int32()), "kafka_offset": [4, 5, 6, 0, 0],
    })  # fmt: skip
    upto = {("a", 0): 5, ("a", 1): 9}
    assert read_upto(upto_text(upto)) == upto
    assert without_upto(batch, upto).column("kafka_offset").to_pylist() == [5, 0, 0]


def test_batches_have_new_trades_of_each_topic_and_partition() -> None:
    """A topic that was created again begins at 0, below the offsets of its predecessor."""
    rows = trade_rows([trade(number) for number in range(1, 5)])
    renamed = rows.set_column(rows.schema.get_field_index("kafka_topic_id"), "kafka_topic_id", pa.array(["new"] * 4))
    upto = {(TOPIC, 0): 3}
    seen: list[int] = []
    both = ds.dataset([ds.dataset(rows), ds.dataset(renamed.cast(rows.schema))])
    found = trade_batches(both, None, upto, lambda batch: seen.append(batch.num_rows))
    assert [number for batch in found for number in batch.column("trade_number").to_pylist()] == [4, 1, 2, 3, 4]
    assert sum(seen) == 5
    day = date(2026, 3, 1)
    assert not has_news(Part(short_topic_id(TOPIC), 0, 0, 2, day).path, upto)
    for part in (Part(short_topic_id(TOPIC), 0, 0, 3, day), Part(short_topic_id(TOPIC), 1, 0, 2, day), Part("00000000", 0, 0, 2, day)):
        assert has_news(part.path, upto)


def test_intervals_start_at_multiples_of_their_length() -> None:
    at = datetime(2026, 1, 1, 13, 37, 42, 500_000, tzinfo=UTC)
    one = trade(1, at_s=at.timestamp() - START_US / US)
    starts = {name: next(iter(candles([one], name))) for name in TRADE_INTERVALS}
    assert starts == {name: int(at.timestamp()) // int(length.total_seconds()) * int(length.total_seconds()) * US
                      for name, length in TRADE_INTERVALS.items()}  # fmt: skip
