"""Which candles of venues are compared unless a start is given, and to which digit."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from cryptoviz.lake.candle_check_reader import check_rows, checked_from

DAYS = [date(2026, 3, day) for day in (1, 2, 20, 21)]


@pytest.mark.parametrize(
    ("high", "expected"),
    [(None, 15), (datetime(2026, 3, 20, tzinfo=UTC), 14), (datetime(2026, 3, 21, 9, tzinfo=UTC), 15), (datetime(2026, 2, 1, tzinfo=UTC), None)],
    ids=["newest", "midnight", "within a day", "before all"],
)
def test_without_a_start_the_last_seven_days_are_compared(high: datetime | None, expected: int | None) -> None:
    assert checked_from(DAYS, high) == (None if expected is None else datetime(2026, 3, expected, tzinfo=UTC))


def test_a_table_without_days_has_none() -> None:
    assert checked_from((), None) is None


def minute(**others: Any) -> dict[str, Any]:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    same = {"ts": at, "venue": "binance", "venue_symbol": "BTCUSDT", "asset_id": "bitcoin", "quote_currency": "USDT", "vwap": None}
    amounts = dict.fromkeys(("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"), Decimal(1))
    return same | amounts | {"trades": 1} | others


def test_the_last_of_38_digits_is_compared() -> None:
    """10^12 and the last decimal: 31 digits, of which Decimal's own context would keep 28."""
    amount = "1000000000000.00000000000000000"
    mine = minute(volume=Decimal(amount + "1"), first_trade=1, last_trade=1, complete=True, source="trades:binance")
    theirs = [minute(volume=Decimal(amount + last), interval="1m", ingest_ts=datetime(2026, 3, 1, 1, tzinfo=UTC)) for last in "12"]
    found = [check_rows(pa.Table.from_pylist([one]), pa.Table.from_pylist([mine])).to_pylist()[0] for one in theirs]
    assert [(row["equal"], row["differences"]) for row in found] == [(True, ""), (False, f"volume {amount}1, not {amount}2")]
