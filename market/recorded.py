"""Storage format of the recorded candles: reading, and writing from exchange downloads.

Prices and volumes are stored as integer differences in units of the exchange's step, which compress well and are exact. Times are UTC epoch
milliseconds of a candle's open.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["CANDLE_MS", "HISTORY_START_MS", "Candles", "load_candles", "write_candles"]

CANDLE_MS = 300_000
"""Length of the recorded candles: 5 minutes."""
HISTORY_START_MS = 1_667_260_800_000
"""2022-11-01T00:00:00Z, the open of the first candle."""

DATA_DIR = Path(__file__).parent / "data"
FIVE_MINUTE_FILE = DATA_DIR / "candles-5m-2022-11.npz"
DAILY_FILE = DATA_DIR / "candles-1d-2022-11.npz"

_MAX_DECIMALS = 9
_COLUMNS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class Candles:
    """Gap-free candles of one coin against USDT, in order of time. Arrays are of equal length and must not be written to.

    Attributes:
        symbol: ticker on the exchange.
        price_decimals: decimals of the exchange's price step.
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
    found: dict[str, Candles] = {}
    with np.load(path) as stored:
        for symbol, (price_decimals, volume_decimals) in zip(stored["symbols"].tolist(), stored["decimals"].tolist(), strict=True):
            step = {name: stored[f"{symbol}.{name}"].astype(np.int64) for name in _COLUMNS}
            found[symbol] = _candles(symbol, price_decimals, volume_decimals, step)
    return found


def _candles(symbol: str, price_decimals: int, volume_decimals: int, step: dict[str, NDArray[np.int64]]) -> Candles:
    # close of row i = sum of all gaps and bodies up to i; a gap is the open minus the previous close
    close = np.cumsum(step["open"] + step["close"])
    opened = close - step["close"]
    high = np.maximum(opened, close) + step["high"]
    low = np.minimum(opened, close) - step["low"]
    unit, volume_unit = 10.0**price_decimals, 10.0**volume_decimals
    return Candles(symbol, price_decimals, opened / unit, high / unit, low / unit, close / unit, step["volume"] / volume_unit)


def write_candles(frame: Any, path: Path) -> None:
    """Store a pandas frame (`ts, symbol, open, high, low, close, volume`, gap free per symbol) so that `load_candles` returns it exactly.

    Raises:
        ValueError: a value is not a multiple of 10**-9, so integers cannot represent it exactly.
    """
    stored: dict[str, NDArray[Any]] = {}
    scales: dict[str, tuple[int, int]] = {}
    for symbol, group in frame.sort_values(["symbol", "ts"]).groupby("symbol"):
        price_decimals = max(_decimals(group[name].to_numpy()) for name in _COLUMNS[:4])
        volume_decimals = _decimals(group["volume"].to_numpy())
        scales[str(symbol)] = (price_decimals, volume_decimals)
        opened, high, low, close = (np.round(group[name].to_numpy() * 10.0**price_decimals).astype(np.int64) for name in _COLUMNS[:4])
        prices = {
            "open": opened - np.concatenate(([0], close[:-1])),
            "high": high - np.maximum(opened, close),
            "low": np.minimum(opened, close) - low,
            "close": close - opened,
        }
        stored |= {f"{symbol}.{name}": values.astype(np.int32) for name, values in prices.items()}
        stored[f"{symbol}.volume"] = np.round(group["volume"].to_numpy() * 10.0**volume_decimals).astype(np.int64)
    stored["symbols"], stored["decimals"] = np.array(list(scales)), np.array(list(scales.values()))
    # As `numpy.savez_compressed`, but with LZMA instead of Deflate: 25 % smaller, and `numpy.load` reads both.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, values in stored.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.save(member, values, allow_pickle=False)


def _decimals(values: Floats) -> int:
    for digits in range(_MAX_DECIMALS + 1):
        if np.array_equal(np.round(values * 10.0**digits) / 10.0**digits, values):
            return digits
    raise ValueError(f"values need more than {_MAX_DECIMALS} decimals: {values[:3]}")
