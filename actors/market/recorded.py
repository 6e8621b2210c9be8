"""The recorded candles: how they are stored, read, and were made from exchange downloads.

Prices and volumes are stored as integers in units of the exchange's own step, as differences that compress well; reading gives back exactly the
numbers of the exchange. Times are UTC epoch milliseconds of a candle's open.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["CANDLE_MS", "DAY_MS", "HISTORY_START_MS", "Candles", "load_candles", "write_candles"]

CANDLE_MS = 300_000
"""The recording's candles are 5 minutes long."""
DAY_MS = 86_400_000
HISTORY_START_MS = 1_667_260_800_000
"""2022-11-01T00:00:00Z, the open of the first candle."""

DATA_DIR = Path(__file__).parent / "data"
FIVE_MINUTE_FILE = DATA_DIR / "candles-5m-2022-11.parquet"
DAILY_FILE = DATA_DIR / "candles-1d-2022-11.parquet"

_MAX_DECIMALS = 9
_COLUMNS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class Candles:
    """Gap-free candles of one coin against USDT, in order of time. Arrays are of equal length and must not be written to.

    Attributes:
        symbol: ticker on the exchange.
        price_decimals: digits after the point of the exchange's price step.
        open, high, low, close: USDT.
        volume: coins traded within the candle.
    """

    symbol: str
    price_decimals: int
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __len__(self) -> int:
        return len(self.open)


@cache
def load_candles(path: Path) -> dict[str, Candles]:
    """The candles of a file made by `write_candles`, by symbol. Read once per process."""
    table = pq.read_table(path)
    scales: dict[str, list[int]] = json.loads(table.schema.metadata[b"decimals"])
    symbols = table.column("symbol").to_numpy(zero_copy_only=False)
    raw = {name: table.column(name).to_numpy().astype(np.int64) for name in _COLUMNS}
    found: dict[str, Candles] = {}
    for symbol, (price_decimals, volume_decimals) in scales.items():
        rows = np.flatnonzero(symbols == symbol)
        step = {name: values[rows] for name, values in raw.items()}
        # close of row i = the sum of all gaps and bodies so far; a gap is the distance from the previous close to the open
        close = np.cumsum(step["open"] + step["close"])
        opened = close - step["close"]
        high = np.maximum(opened, close) + step["high"]
        low = np.minimum(opened, close) - step["low"]
        unit, volume_unit = 10.0**price_decimals, 10.0**volume_decimals
        found[symbol] = Candles(symbol, price_decimals, opened / unit, high / unit, low / unit, close / unit, step["volume"] / volume_unit)
    return found


def write_candles(frame: Any, path: Path) -> None:
    """Store a pandas frame (`ts, symbol, open, high, low, close, volume`, gap free per symbol) so that `load_candles` returns it exactly.

    Raises:
        ValueError: a value is no multiple of 10**-9, so that integers cannot hold it exactly.
    """
    parts: dict[str, list[Any]] = {name: [] for name in ("symbol", *_COLUMNS)}
    scales: dict[str, tuple[int, int]] = {}
    for symbol, group in frame.sort_values(["symbol", "ts"]).groupby("symbol"):
        price_decimals = max(_decimals(group[name].to_numpy()) for name in _COLUMNS[:4])
        volume_decimals = _decimals(group["volume"].to_numpy())
        scales[str(symbol)] = (price_decimals, volume_decimals)
        opened, high, low, close = (np.round(group[name].to_numpy() * 10.0**price_decimals).astype(np.int64) for name in _COLUMNS[:4])
        parts["symbol"].extend([symbol] * len(group))
        parts["open"].append(opened - np.concatenate(([0], close[:-1])))
        parts["high"].append(high - np.maximum(opened, close))
        parts["low"].append(np.minimum(opened, close) - low)
        parts["close"].append(close - opened)
        parts["volume"].append(np.round(group["volume"].to_numpy() * 10.0**volume_decimals).astype(np.int64))
    prices = {name: pa.array(np.concatenate(parts[name]).astype(np.int32)) for name in _COLUMNS[:4]}
    table = pa.table({"symbol": pa.array(parts["symbol"]).dictionary_encode(), **prices, "volume": pa.array(np.concatenate(parts["volume"]))})
    table = table.replace_schema_metadata({"decimals": json.dumps(scales)})
    encodings = dict.fromkeys(_COLUMNS, "BYTE_STREAM_SPLIT")
    pq.write_table(table, path, compression="zstd", compression_level=19, use_dictionary=["symbol"], column_encoding=encodings)


def _decimals(values: Floats) -> int:
    for digits in range(_MAX_DECIMALS + 1):
        if np.array_equal(np.round(values * 10.0**digits) / 10.0**digits, values):
            return digits
    raise ValueError(f"values need more than {_MAX_DECIMALS} decimals: {values[:3]}")
