"""Kraken's responses over real HTTP."""

import pytest

from market.recorded import CANDLE_MS, FIVE_MINUTE_FILE, load_candles
from tests.integration.market.wire import NOON_MS

pytestmark = pytest.mark.integration

TICKER = "/kraken/0/public/Ticker"
OHLC = "/kraken/0/public/OHLC"


async def result(client, url, **params):
    body = (await client.get(url, params=params)).json()
    assert body["error"] == []
    return body["result"]


async def ohlc(client, pair="XBTUSD", key="XXBTZUSD", **rest):
    found = await result(client, OHLC, pair=pair, **rest)
    assert set(found) == {key, "last"}
    return found[key], found["last"]


async def test_a_ticker_has_every_field_in_its_form(still):
    row = (await result(still, TICKER, pair="XBTUSD"))["XXBTZUSD"]
    assert list(row) == list("abcvptlho")
    assert [len(row[name]) for name in "abcvptlh"] == [3, 3, 2, 2, 2, 2, 2, 2]
    assert all(isinstance(value, str) for name in "abcvplh" for value in row[name])
    assert all(isinstance(value, int) for value in row["t"])
    assert isinstance(row["o"], str)
    last, (low_today, low), (high_today, high) = float(row["c"][0]), map(float, row["l"]), map(float, row["h"])
    assert low <= low_today <= last <= high_today <= high
    assert float(row["v"][0]) < float(row["v"][1])
    assert row["t"][0] < row["t"][1]
    assert float(row["b"][0]) < last < float(row["a"][0])


async def test_results_have_other_keys_than_requests(still):
    found = await result(still, TICKER, pair="XBTUSD,ETHUSD,XRPUSD,LTCUSD,XLMUSD,ADAUSD,POLUSD,BNBUSD")
    assert list(found) == ["XXBTZUSD", "XETHZUSD", "XXRPZUSD", "XLTCZUSD", "XXLMZUSD", "ADAUSD", "POLUSD", "BNBUSD"]
    for name in ("XXBTZUSD", "XBT/USD", "BTC/USD"):
        assert list(await result(still, TICKER, pair=name)) == ["XXBTZUSD"]
    assert list(await result(still, TICKER, pair="XBTUSD,POLUSD", assetVersion="1")) == ["BTC/USD", "POL/USD"]


async def test_all_pairs_with_one_that_is_no_longer_traded(still):
    found = await result(still, TICKER)
    assert len(found) == 17  # 16 of the 17 coins, and the dead pair
    assert "VETUSD" not in found
    assert found["MATICUSD"]["c"][0] == "0.00000000"
    pairs = await result(still, "/kraken/0/public/AssetPairs")
    assert list(pairs) == list(found)
    bitcoin = pairs["XXBTZUSD"]
    assert (bitcoin["altname"], bitcoin["wsname"], bitcoin["base"], bitcoin["quote"]) == ("XBTUSD", "XBT/USD", "XXBT", "ZUSD")
    assert (bitcoin["status"], pairs["MATICUSD"]["status"]) == ("online", "cancel_only")


@pytest.mark.parametrize(
    ("url", "error"),
    [
        (f"{TICKER}?pair=GOLDUSD", "EQuery:Unknown asset pair"),
        (f"{TICKER}?pair=XBTUSD,GOLDUSD", "EQuery:Unknown asset pair"),
        (f"{OHLC}?pair=GOLDUSD", "EQuery:Unknown asset pair"),
        (f"{OHLC}?pair=XBTUSD,ETHUSD", "EQuery:Unknown asset pair"),
        (OHLC, "EGeneral:Invalid arguments"),
        (f"{OHLC}?pair=XBTUSD&interval=7", "EGeneral:Invalid arguments"),
        (f"{OHLC}?pair=XBTUSD&since=x", "EGeneral:Invalid arguments"),
    ],
)
async def test_errors_come_with_200(client, url, error):
    response = await client.get(url)
    assert (response.status_code, response.json()) == (200, {"error": [error]})


async def test_small_answers(still):
    assert await result(still, "/kraken/0/public/Time") == {"unixtime": NOON_MS // 1000}
    assert (await result(still, "/kraken/0/public/SystemStatus"))["status"] == "online"
    assert (await still.get("/kraken/0/public/Nothing")).json() == {"error": ["EGeneral:Unknown method"]}


async def test_the_price_stands_beside_the_recorded_one(still):
    recorded = load_candles(FIVE_MINUTE_FILE)
    found = await result(still, TICKER, pair="XBTUSD,ETHUSD,SOLUSD,ADAUSD")
    distances = [
        (float(row["c"][0]) / recorded[symbol].open[8 * 288 + 144] - 1) * 10_000
        for symbol, row in zip(("BTC", "ETH", "SOL", "ADA"), found.values(), strict=True)
    ]
    assert all(abs(distance) < 4.1 for distance in distances)
    assert sum(abs(distance) > 0.3 for distance in distances) >= 2


async def test_five_minutes_of_ticks_are_the_ohlc(still, set_clock):
    ticks = []
    for second in range(300):
        set_clock.ms = NOON_MS + second * 1000
        ticks.append((await result(still, TICKER, pair="XBTUSD"))["XXBTZUSD"]["c"][0])
    set_clock.ms = NOON_MS + 2 * CANDLE_MS
    rows, last = await ohlc(still, interval=5, since=NOON_MS // 1000 - 1)
    assert last == NOON_MS // 1000 + 300
    assert [row[0] for row in rows] == [NOON_MS // 1000, NOON_MS // 1000 + 300, NOON_MS // 1000 + 600]
    assert rows[0][1:5] == [ticks[0], max(ticks, key=float), min(ticks, key=float), ticks[-1]]
    assert [type(value) for value in rows[0]] == [int, *[str] * 6, int]
    minutes, _ = await ohlc(still, interval=1, since=NOON_MS // 1000 - 1)
    assert [row[1] for row in minutes[:5]] == ticks[::60]


async def test_ohlc_rows(still):
    rows, last = await ohlc(still)
    assert len(rows) == 720
    assert (rows[-1][0], last) == (NOON_MS // 1000, NOON_MS // 1000 - 60)
    rows, _ = await ohlc(still, since=last)
    assert [row[0] for row in rows] == [NOON_MS // 1000]  # since itself is not included
    rows, _ = await ohlc(still, "POLUSD", "POLUSD", interval=1440)
    assert len(rows) == 720
    hour, _ = await ohlc(still, interval=60, since=NOON_MS // 1000 - 3601)
    five, _ = await ohlc(still, interval=5, since=NOON_MS // 1000 - 3601)
    assert float(hour[0][2]) == max(float(row[2]) for row in five[:12])
    assert float(hour[0][3]) == min(float(row[3]) for row in five[:12])
    assert (hour[0][1], hour[0][4]) == (five[0][1], five[11][4])
