"""The relation `candle_checks`: each recorded candle of a venue, compared with ours from trades as they are now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa

from cryptoviz.lake.schema import TIME
from cryptoviz.times import epoch_us
from cryptoviz.trades.candle import TradeCandle
from cryptoviz.trades.candle_checks import VenueCandle, check_candle

__all__ = ["CANDLE_CHECKS", "CHECKED_DAYS", "check_rows", "checked_from", "checked_range"]

CANDLE_CHECKS = pa.schema(
    [
        ("ts", TIME),  # start of the candle
        ("venue", pa.string()),
        ("venue_symbol", pa.string()),
        ("asset_id", pa.string()),
        ("quote_currency", pa.string()),
        ("interval", pa.string()),
        ("complete", pa.bool_()),  # ours; null without one
        ("equal", pa.bool_()),  # null: nothing was recorded at that time
        ("compared", pa.int32()),  # values that the venue gives
        ("differences", pa.string()),  # `volume 1.5, not 1.75; trades 3, not 4`: ours first
        ("checked_ts", TIME),  # when the venue's candle was read
    ]
)
CHECKED_DAYS = 7
"""UTC days that are compared unless a start is given: of 60 instruments they are 600 000 candles."""
_EXACT = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume", "trades")
_INSTRUMENT = ("venue", "venue_symbol", "asset_id", "quote_currency")
_MINUTE = timedelta(minutes=1)
_EVERY_DIGIT = Context(prec=38)
"""Of an amount of the table. Decimal's own context rounds to 28."""
_Instrument = tuple[str, str]


def checked_from(days: Iterable[date], high: datetime | None) -> datetime | None:
    """The start of the last `CHECKED_DAYS` days up to the newest of the table's `days` that is not after `high`; None: there is none."""
    newest = max((day for day in days if high is None or day <= high.date()), default=None)
    return None if newest is None else datetime.combine(newest, time(), UTC) - timedelta(days=CHECKED_DAYS - 1)


def checked_range(theirs: pa.Table) -> tuple[datetime, datetime] | None:
    """The time that the candles of the table `venue_candles` cover; None: there are none."""
    times = theirs.column("ts").to_pylist()
    return (min(times), max(times) + _MINUTE) if times else None


def check_rows(theirs: pa.Table, ours: pa.Table) -> pa.Table:
    """`CANDLE_CHECKS`, in the order of `theirs`; of a candle that was read several times the last counts. `ours`: as `Lake.trade_candles` of 1m."""
    known = {(row["venue"], row["venue_symbol"], row["ts"]): row for row in ours.to_pylist()}
    recorded: dict[_Instrument, tuple[datetime, datetime]] = {}
    for venue, symbol, at in known:
        first, last = recorded.get((venue, symbol), (at, at))
        recorded[venue, symbol] = min(first, at), max(last, at)
    newest = {(row["venue"], row["venue_symbol"], row["ts"]): row for row in sorted(theirs.to_pylist(), key=lambda row: row["ingest_ts"])}
    order = sorted(newest, key=lambda key: (key[2], key[0], key[1]))
    return pa.Table.from_pylist(list(_checks([newest[key] for key in order], known, recorded)), schema=CANDLE_CHECKS)


def _checks(theirs: list[dict[str, Any]], known: dict[Any, dict[str, Any]], recorded: dict[_Instrument, tuple[datetime, datetime]]) -> Iterator[Any]:
    for row in theirs:
        mine, instrument = known.get((row["venue"], row["venue_symbol"], row["ts"])), (row["venue"], row["venue_symbol"])
        first, last = recorded.get(instrument, (None, None))
        result: dict[str, Any] = {"complete": None if mine is None else mine["complete"], "checked_ts": row["ingest_ts"]}
        if mine is not None or (first is not None and last is not None and first < row["ts"] < last):
            check = check_candle(*instrument, None if mine is None else _ours(mine, row["interval"]), _theirs(row))
            texts = (f"{one.field} {one.ours}, not {one.theirs}" for one in check.differences)
            result |= {"equal": check.equal, "compared": check.fields, "differences": "; ".join(texts)}
        yield {name: row[name] for name in ("ts", *_INSTRUMENT, "interval")} | result


def _theirs(row: dict[str, Any]) -> VenueCandle:
    exact = {name: _short(row[name]) for name in _EXACT if row[name] is not None}
    return VenueCandle(row["interval"], epoch_us(row["ts"]), exact, {} if row["vwap"] is None else {"vwap": row["vwap"]})


def _ours(row: dict[str, Any], interval: str) -> TradeCandle:
    names = [name for name in TradeCandle.__struct_fields__ if name not in ("interval", "open_us", "vwap")]
    same: dict[str, Any] = {name: value.normalize(_EVERY_DIGIT) if isinstance(value := row[name], Decimal) else value for name in names}
    return TradeCandle(**same, interval=interval, open_us=epoch_us(row["ts"]), vwap=None if row["vwap"] is None else Decimal(repr(row["vwap"])))


def _short(value: Decimal | int) -> str:
    """Without the zeros of the column's scale."""
    return f"{value.normalize(_EVERY_DIGIT):f}" if isinstance(value, Decimal) else str(value)
