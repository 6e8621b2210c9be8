"""Candles from the market's trades are the market's own, at each venue: every value that a venue's candle has is equal."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from cryptoviz.lake.trade_ohlcv import TRADE_INTERVALS
from cryptoviz.trades.record import Trade
from market.quotes import Market
from market.trade_book import Instrument, TradeBook
from tests.unit.lake.test_trade_ohlcv import candles

NOON_MS = round(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp() * 1000)
MINUTES = 12
SYMBOLS = {"binance": "ETHUSDT", "kraken": "ETH/USD", "coinbase": "ETH-USD"}


@pytest.fixture(scope="module")
def book() -> TradeBook:
    return TradeBook(Market(seed=1), 2.0)


def trades_of(book: TradeBook, one: Instrument) -> list[Trade]:
    """Of twelve minutes, every second one late."""
    until_us = book.market_us(NOON_MS)
    found = [
        Trade.numbered(
            venue=one.venue, venue_symbol=one.symbol, asset_id="ethereum", quote_currency="USD", trade_number=trade.trade_id,
            price=one.steps.price_text(trade.price), size=one.steps.size_text(trade.size), side="buy" if trade.buy else "sell",
            venue_ts=book.wall_us(trade.time_us), ingest_ts=book.wall_us(trade.time_us), source="stream", connection="c",
        )
        for trade in one.tape.since(until_us - MINUTES * 60_000_000, until_us, 100_000)
    ]  # fmt: skip
    return found[::2] + found[1::2]


def markets(book: TradeBook, one: Instrument, start_us: int, interval: str) -> dict[str, Any]:
    """The values of a candle of the market, by our names for them."""
    length_ms = round(TRADE_INTERVALS[interval].total_seconds() * 1000)
    made = book.candle(one.venue, one.listing, start_us // 1000, start_us // 1000 + length_ms, NOON_MS)
    assert made is not None
    amounts = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")
    price, size = one.steps.price, one.steps.size
    units = (made.open, made.high, made.low, made.close, made.size, made.value, made.buy_size, made.buy_value)
    decimals = (price, price, price, price, size, price + size, size, price + size)
    exact = {name: Decimal(value).scaleb(-places) for name, value, places in zip(amounts, units, decimals, strict=True)}
    return exact | {"trades": made.trades, "first_trade": made.first_id, "last_trade": made.last_id}


@pytest.mark.parametrize("venue", SYMBOLS)
@pytest.mark.parametrize("interval", ["1s", "1m", "5m"])
def test_candles_are_the_markets(book: TradeBook, venue: str, interval: str) -> None:
    one = book.instruments[venue][SYMBOLS[venue]]
    trades = trades_of(book, one)
    complete = {start: row for start, row in candles(trades, interval, stored=len(trades) // 3).items() if row["complete"]}
    # Of five minutes only the whole ones between the first and the last trade.
    assert len(complete) >= {"1s": 300, "1m": MINUTES - 2, "5m": 1}[interval]
    for start, row in list(complete.items())[:100]:
        expected = markets(book, one, start, interval)
        assert {name: row[name] for name in expected} == expected
