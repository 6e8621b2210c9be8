"""What the benchmark of trade streams compares and computes, and that its load is what it says."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from actors.publishing.transaction import KafkaTransaction, Message
from actors.streaming.actor import instruments_of
from bench.loaded_stream import VENUE, LoadedStream
from bench.stream_figures import Compared, MemorySeries, TradeValues, compare, per_million_s, weighted_percentile
from bench.stream_load import INSTRUMENTS, coins
from bench.streams import Figures, report, settings_of, stored_trades
from cryptoviz.venues.binance import BinanceVenue
from cryptoviz.venues.registry import venue_of
from market.quotes import Market
from market.trade_book import TradeBook


def values(number: int) -> TradeValues:
    return Decimal(number), Decimal(1), "buy", number


MADE = {number: values(number) for number in range(10, 20)}


def test_the_same_trades_are_exact() -> None:
    found = compare(list(MADE.items()), MADE)
    assert (found.trades, found.exact) == (10, True)


@pytest.mark.parametrize(
    ("stored", "fault"),
    [
        ([row for row in MADE.items() if row[0] != 15], {"lost": 1}),
        ([*MADE.items(), (12, values(12))], {"doubled": 1}),
        ([*list(MADE.items())[:-1], (19, values(18))], {"different": 1}),
        ([*MADE.items(), (25, values(25))], {"unknown": 1}),
    ],
)
def test_each_kind_of_fault_is_counted(stored: list[tuple[int, TradeValues]], fault: dict[str, int]) -> None:
    found = compare(stored, MADE)
    assert {name: count for name, count in asdict(found).items() if count and name != "trades"} == fault
    assert not found.exact
    total = Compared()
    total.add(found)
    total.add(compare(list(MADE.items()), MADE))
    assert (total.trades, total.exact) == (len(stored) + 10, False)


def test_nothing_is_not_exact() -> None:
    assert not Compared().exact
    assert compare([], MADE).lost == 10


def test_a_percentile_counts_the_trades_of_a_transaction() -> None:
    acks = [(10, 5.0), (85, 8.0), (5, 90.0)]
    assert [weighted_percentile(acks, share) for share in (0.1, 0.11, 0.5, 0.95, 0.96, 1.0)] == [5.0, 8.0, 8.0, 8.0, 90.0, 90.0]
    with pytest.raises(ValueError, match="nothing"):
        weighted_percentile([(0, 1.0)], 0.5)


def test_processor_time_is_that_of_a_million_trades() -> None:
    assert per_million_s(15.0, 1_500_000) == 10.0


def test_memory_is_flat_until_the_last_third_is_a_tenth_and_60_mb_above_the_first() -> None:
    def series(first: float, last: float) -> MemorySeries:
        return MemorySeries([{"a": one / 2, "b": one / 2} for one in (first, first, 9_999.0, 0.0, last, last)])

    assert series(1000, 1160).thirds() == (1000, 1160)
    assert series(1000, 1160).flat
    assert not series(1000, 1161).flat
    assert series(1000, 1160).thirds("b") == (500, 580)
    assert MemorySeries([{"small": 1.0, "large": 9.0}, {"large": 9.0}]).kinds() == ["large", "small"]


def test_rows_of_a_reader_are_compared_by_value_and_microsecond() -> None:
    at = datetime(2026, 3, 1, 12, 0, 0, 123_457, UTC)
    rows = pa.table(
        {
            "trade_number": pa.array([7], pa.int64()), "price": pa.array([Decimal("1.50")], pa.decimal128(38, 18)),
            "size": pa.array([Decimal(2)], pa.decimal128(38, 18)), "side": ["sell"], "venue_ts": pa.array([at], pa.timestamp("us", "UTC")),
        }
    )  # fmt: skip
    assert list(stored_trades(rows)) == [(7, (Decimal("1.5"), Decimal(2), "sell", 1_772_366_400_123_457))]


def test_the_stream_has_the_instruments_that_the_market_trades(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BinanceVenue, "spec", BinanceVenue.spec)
    settings = settings_of(tmp_path, 1, 0.0)
    LoadedStream(settings)
    ours = {one.symbol for one in instruments_of(venue_of(VENUE), settings, 0)}
    assert ours == TradeBook(Market(1, 1.0, coins()), 1.7).instruments[VENUE].keys()
    assert len(ours) == INSTRUMENTS


async def test_an_acknowledgement_is_timed_from_the_oldest_of_its_merged_transactions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BinanceVenue, "spec", BinanceVenue.spec)
    stream = LoadedStream(settings_of(tmp_path, 1, 0.0))
    stream._since = {"a": 3.0, "b": 2.0, "c": 1.0}
    messages = (Message(b"k", b"v"),) * 7
    stream.acknowledged(KafkaTransaction("a", 0, messages, merged=("b",)), 3.5)
    stream.acknowledged(KafkaTransaction("of-gaps", 0, ()), 4.0)
    taken = await stream.taken()
    assert taken.acks == [(7, 1500.0)]
    assert (taken.message, taken.cpu_s > 0) == ("not started", True)
    assert (await stream.taken()).acks == []


def test_the_report_names_what_failed() -> None:
    spread = {"p50": 1.0, "p95": 2.0, "p99": 3.0, "most": 4.0}
    figures = Figures(
        asked_per_s=5000.0, trades=1_500_000, trades_per_s=4996.0, ack_ms=spread, lake_ms=spread, cpu_per_million_s={"kafka": 2.0, "market": 28.0},
        memory_mb={"all": (900.0, 910.0), "kafka": (400.0, 401.0)}, memory_flat=True, burst={"absorbed_s": 2.0},
        absorbed=True, verified=True,
        readers={"by_delta": Compared(trades=5), "by_folder": Compared(trades=5, lost=1)},
    )  # fmt: skip
    text = report(figures)
    assert "| arrival to Kafka's acknowledgement | 1 | 2 | 3 | 4 | 30 |" in text
    assert "| all | 30.0 | 900 → 910 |" in text
    assert "by_folder: 5 trades, 1 lost, 0 doubled" in text
    assert not figures.good
    figures.readers["by_folder"].lost = 0
    assert figures.good
    figures.absorbed = False
    assert not figures.good
    assert "a second was NOT absorbed in time" in report(figures)
    figures.absorbed, figures.trades_per_s = True, 4900.0
    assert not figures.good
    assert "did NOT keep up" in report(figures)
