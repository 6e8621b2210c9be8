"""The recording equals the exchange's publication."""

import numpy as np
import pandas as pd
import pytest

from market.recorded import DAILY_FILE, FIVE_MINUTE_FILE, load_candles, write_candles

SYMBOLS = {"ADA", "ALGO", "ATOM", "AVAX", "BTC", "DOT", "ETH", "FIL", "LINK", "LTC", "MATIC", "SOL", "UNI", "VET", "XLM", "XRP"}


def test_recording_holds_the_exchange_candles():
    candles = load_candles(FIVE_MINUTE_FILE)
    assert set(candles) == SYMBOLS
    assert {len(series) for series in candles.values()} == {30 * 288}
    ada, bitcoin = candles["ADA"], candles["BTC"]
    # first two rows of the exchange's own download
    assert (ada.open[0], ada.high[0], ada.low[0], ada.close[0], ada.volume[0]) == (0.4055, 0.4060, 0.4045, 0.4059, 363299.5)
    assert (ada.open[1], ada.high[1], ada.low[1], ada.close[1], ada.volume[1]) == (0.4059, 0.4059, 0.4049, 0.4056, 383198.8)
    assert (bitcoin.close[0], bitcoin.close[-1], bitcoin.high.max()) == (20476.78, 17163.64, 21480.65)


def test_bnb_has_the_exchange_days():
    bnb = load_candles(DAILY_FILE)["BNB"]
    assert len(bnb) == 30
    # 2022-11-08, the day of Binance's offer for FTX
    assert (bnb.open[7], bnb.high[7], bnb.low[7], bnb.close[7], bnb.volume[7]) == (337.0, 398.3, 298.0, 327.4, 3103916.384)


def test_recorded_candles_are_consistent():
    for series in load_candles(FIVE_MINUTE_FILE).values():
        assert (series.high >= np.maximum(series.open, series.close)).all()
        assert (series.low <= np.minimum(series.open, series.close)).all()
        assert (series.low > 0).all()


def test_written_candles_read_back_bit_for_bit(tmp_path):
    rng = np.random.default_rng(7)
    rows = 500
    close = np.round(np.exp(rng.standard_normal(rows).cumsum() * 0.01) * 0.02, 5)
    opened = np.round(close * (1 + rng.standard_normal(rows) * 0.001), 5)
    frame = pd.DataFrame(
        {
            "ts": pd.date_range("2022-11-01", periods=rows, freq="5min", tz="UTC"),
            "symbol": "VET",
            "open": opened,
            "high": np.round(np.maximum(opened, close) * 1.002, 5),
            "low": np.round(np.minimum(opened, close) * 0.998, 5),
            "close": close,
            "volume": np.round(rng.lognormal(10, 1, rows), 3),
        }
    )
    path = tmp_path / "candles.parquet"
    write_candles(frame, path)
    read = load_candles(path)["VET"]
    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(read, name), frame[name].to_numpy())


def test_a_price_that_integers_cannot_hold_is_refused(tmp_path):
    frame = pd.DataFrame(
        {"ts": [pd.Timestamp("2022-11-01", tz="UTC")], "symbol": "X", "open": 1 / 3, "high": 1.0, "low": 0.1, "close": 0.5, "volume": 1.0}
    )
    with pytest.raises(ValueError, match="9 decimals"):
        write_candles(frame, tmp_path / "x.parquet")
