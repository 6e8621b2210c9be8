"""Which candles `Lake.candles` returns: those from trades where they are complete, polled ones elsewhere. Pure SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptoviz.errors import QueryError
from cryptoviz.lake.ohlcv import INTERVALS, check_interval

__all__ = ["CANDLE_COLUMNS", "CandleSource", "chosen_sql"]

_PRICES = ("open", "high", "low", "close")
_TRADED = ("quote_volume", "vwap", "trades", "taker_buy_volume", "taker_buy_quote_volume", "complete")
_POLLED = ("ts", "asset_id", "quote_currency", *_PRICES, "volume", "volume_24h", "ticks", "source")
CANDLE_COLUMNS = (*_POLLED, *_TRADED)
"""Columns of `Lake.candles`. Of polled candles the last ones are null, as is `volume`."""
_NO_TRADES = ", ".join(
    f"CAST(NULL AS {'BOOLEAN' if name == 'complete' else 'BIGINT' if name == 'trades' else 'DOUBLE'}) AS {name}" for name in _TRADED
)
_PREFIX = "trades:"


@dataclass(frozen=True, slots=True)
class CandleSource:
    """What the candles are made from. `venue`: only of this one; empty: all."""

    polled: bool
    trades: bool
    venue: str = ""

    @classmethod
    def of(cls, text: str | None, interval: str, *, streams: bool) -> CandleSource:
        """Parse the argument `source`. `streams`: whether trades are collected, so that they are included by default.

        Raises:
            QueryError: not a source, or one that has no candles of the interval.
        """
        if text is None:
            polled = interval in INTERVALS
            return cls(polled, streams or not polled)
        if text == "polled":
            check_interval(interval)
            return cls(polled=True, trades=False)
        venue = text.removeprefix(_PREFIX)
        if text != "trades" and not (text.startswith(_PREFIX) and venue):
            raise QueryError(f"source is {text!r}: valid are polled, trades, and trades:<venue> such as trades:binance", argument="source")
        return cls(polled=False, trades=True, venue="" if text == "trades" else venue)


def chosen_sql(polled: str | None, traded: str | None, venues: Sequence[str]) -> str:
    """A SELECT of `CANDLE_COLUMNS`.

    Args:
        polled: a SELECT of polled candles; None: without them.
        traded: a SELECT of candles from trades; None: without them.
        venues: of several with a complete candle of the same coin and currency the first one of these, then by name.
    """
    if traded is None:
        return f"SELECT {', '.join(_POLLED)}, {_NO_TRADES} FROM ({polled})"
    order = ", ".join("'" + name.replace("'", "''") + "'" for name in venues)
    doubles = ", ".join(f"CAST({name} AS DOUBLE) AS {name}" for name in (*_PRICES, "volume", *(each for each in _TRADED[:-1] if each != "trades")))
    rank = f"row_number() OVER (PARTITION BY ts, asset_id, quote_currency ORDER BY complete DESC, list_position([{order}], venue) NULLS LAST, venue)"
    best = f"FROM (SELECT ts, asset_id, quote_currency, {doubles}, trades, complete, source, {rank} AS place FROM ({traded})) WHERE place = 1"
    if polled is None:
        end = f"CAST(NULL AS DOUBLE) AS volume_24h, CAST(0 AS BIGINT) AS ticks, source, {', '.join(_TRADED)}"
        return f"SELECT ts, asset_id, quote_currency, {', '.join(_PRICES)}, volume, {end} {best}"
    own = "coalesce(t.complete, false) OR p.ts IS NULL"
    either = ", ".join(f"CASE WHEN {own} THEN t.{name} ELSE p.{name} END AS {name}" for name in (*_PRICES, "volume"))
    traded_only = ", ".join(f"CASE WHEN {own} THEN t.{name} END AS {name}" for name in _TRADED)
    return (
        f"SELECT ts, asset_id, quote_currency, {either}, p.volume_24h AS volume_24h, coalesce(p.ticks, 0) AS ticks, "
        f"CASE WHEN {own} THEN t.source ELSE p.source END AS source, {traded_only} "
        f"FROM ({polled}) p FULL JOIN (SELECT * {best}) t USING (ts, asset_id, quote_currency)"
    )
