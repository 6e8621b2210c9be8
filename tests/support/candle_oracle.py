"""Candles computed independently, with pandas, group by group, from the text of the contract."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

WIDTHS = {"1m": "1min", "5m": "5min", "1h": "1h", "1d": "1D"}
ORDER = ["asset_id", "quote_currency", "ts"]
COLUMNS = ["ts", "asset_id", "quote_currency", "open", "high", "low", "close", "volume", "volume_24h", "ticks", "source"]


def expected_candles(ticks: pa.Table, interval: str) -> pd.DataFrame:
    """From rows of the prices table, in any order."""
    frame = ticks.to_pandas().sort_values(["tick_ts", "ingest_ts", "kafka_offset"], kind="stable")
    frame["ts"] = frame["tick_ts"].dt.floor(WIDTHS[interval])
    rows: list[dict[str, Any]] = []
    for (asset, quote, ts), group in frame.groupby(["asset_id", "quote_currency", "ts"]):
        prices, kinds = group["price"].tolist(), set(group["kind"])
        volumes = group["volume_24h"].dropna().tolist()
        rows.append(
            {
                "ts": ts, "asset_id": asset, "quote_currency": quote, "open": prices[0], "high": max(prices), "low": min(prices), "close": prices[-1],
                "volume": None, "volume_24h": volumes[-1] if volumes else None, "ticks": len(prices),
                "source": "polled" if kinds == {"live"} else "backfilled" if kinds == {"backfill"} else "mixed",
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def same_candles(found: pa.Table, expected: pd.DataFrame) -> None:
    """Every value equal, exactly."""
    left = found.to_pandas()[COLUMNS].sort_values(ORDER).reset_index(drop=True)
    right = expected[COLUMNS].sort_values(ORDER).reset_index(drop=True)
    for column in COLUMNS:
        kind = "datetime64[us, UTC]" if column == "ts" else "float64" if column in COLUMNS[3:9] else "int64" if column == "ticks" else "object"
        left[column], right[column] = left[column].astype(kind), right[column].astype(kind)
    pd.testing.assert_frame_equal(left, right, check_exact=True)
