"""`python -m bench.trade_size [SECONDS]`: bytes a trade in a compacted file of the lake, by column. Trades of the replay market."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from cryptoviz.trades.record import Trade
from market.quotes import Market
from market.trade_book import TradeBook
from spark_jobs.maintenance.compaction.sorted_merge import merge
from spark_jobs.maintenance.steps import LAYOUTS
from tests.support.lake_tables import trade_rows

SYMBOLS = {
    "binance": ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"),
    "kraken": ("BTC/USD", "ETH/USD"),
    "coinbase": ("BTC-USD", "ETH-USD"),
}
LATENCY_US = (20_000, 60_000)
SEQUENCE_STEP = 37
"""Coinbase's counter also counts messages of other channels."""


def made(seconds: int) -> list[Trade]:
    """The trades of the last `seconds`, in the order of their arrival."""
    book = TradeBook(Market(seed=1), 1.7)
    until_us = book.market_us(time.time_ns() // 1_000_000)
    chance = np.random.default_rng(1)
    found = []
    for venue, symbols in SYMBOLS.items():
        for one in book.chosen(venue, symbols):
            for trade in one.tape.since(until_us - seconds * 1_000_000, until_us, 10_000_000):
                at_us = book.wall_us(trade.time_us)
                price, size = one.steps.price_text(trade.price), one.steps.size_text(trade.size)
                late_us, sequence = int(chance.integers(*LATENCY_US)), trade.trade_id * SEQUENCE_STEP if venue == "coinbase" else None
                quote = "USDT" if venue == "binance" else "USD"
                found.append(
                    Trade.numbered(
                        venue=venue, venue_symbol=one.symbol, asset_id=one.coin.asset.asset_id, quote_currency=quote,
                        trade_number=trade.trade_id, price=price, size=size, side="buy" if trade.buy else "sell", venue_ts=at_us,
                        ingest_ts=at_us + late_us, source="stream", connection=f"{venue}-3f9a1c2b-1", sequence=sequence,
                    )
                )  # fmt: skip
    return sorted(found, key=lambda trade: trade.ingest_ts)


def main(seconds: int) -> None:
    """Print bytes a trade, and those of each column."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.parquet", Path(folder) / "target.parquet"
        pq.write_table(trade_rows(made(seconds)), source)
        rows = merge([source], target, LAYOUTS["trades"]).rows
        print(f"{rows} trades, {target.stat().st_size / rows:.2f} bytes a trade")
        metadata, sizes = pq.read_metadata(target), Counter[str]()
        for group in range(metadata.num_row_groups):
            for index in range(metadata.num_columns):
                column = metadata.row_group(group).column(index)
                sizes[column.path_in_schema] += column.total_compressed_size
        for name, size in sizes.most_common():
            print(f"{name:16} {size / rows:6.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3 * 3600)
