"""Binance's responses over real HTTP."""

import httpx
import pytest

from cryptoviz.assets import Asset
from cryptoviz.times import DAY_MS
from market.recorded import CANDLE_MS, FIVE_MINUTE_FILE, load_candles
from market.server import MarketConfig, ReplayMarket
from tests.integration.market.wire import NOON_MS
from tests.support.clock import FakeClock

pytestmark = pytest.mark.integration

TICKER = "/binance/api/v3/ticker/24hr"
KLINES = "/binance/api/v3/klines"
FIELDS = (
    "symbol priceChange priceChangePercent weightedAvgPrice prevClosePrice lastPrice lastQty bidPrice bidQty askPrice askQty openPrice highPrice "
    "lowPrice volume quoteVolume openTime closeTime firstId lastId count"
)
NUMBERS = {"openTime", "closeTime", "firstId", "lastId", "count"}
NOON = 8 * 288 + 144
"""Number of the recorded candle that opens on 2022-11-09 at noon, which the wall clock's `NOON_MS` replays."""


async def klines(client, interval, **rest):
    response = await client.get(KLINES, params={"symbol": "BTCUSDT", "interval": interval, **rest})
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_ticker_has_every_field_and_its_numbers_are_strings(still):
    row = (await still.get(f"{TICKER}?symbol=BTCUSDT")).json()
    assert list(row) == FIELDS.split()
    for name, value in row.items():
        assert isinstance(value, int if name in NUMBERS else str)
    prices = [row[name] for name in ("lowPrice", "bidPrice", "lastPrice", "askPrice", "highPrice")]
    assert all(len(price.split(".")[1]) == 8 for price in prices)
    low, bid, last, ask, high = map(float, prices)
    assert low <= last <= high
    assert bid < last < ask
    before = float(row["openPrice"])
    assert float(row["priceChange"]) == pytest.approx(last - before)
    assert float(row["priceChangePercent"]) == pytest.approx((last / before - 1) * 100, abs=0.001)
    assert float(row["weightedAvgPrice"]) == pytest.approx(float(row["quoteVolume"]) / float(row["volume"]))
    assert row["lastId"] - row["firstId"] + 1 == row["count"] > 0
    assert (row["openTime"], row["closeTime"]) == (NOON_MS - DAY_MS, NOON_MS)


async def test_the_price_is_the_recorded_one(still):
    rows = (await still.get(f'{TICKER}?symbols=["BTCUSDT","VETUSDT","POLUSDT"]')).json()
    recorded = load_candles(FIVE_MINUTE_FILE)
    assert {row["symbol"]: float(row["lastPrice"]) for row in rows} == {
        "BTCUSDT": recorded["BTC"].open[NOON],
        "VETUSDT": recorded["VET"].open[NOON],
        "POLUSDT": recorded["MATIC"].open[NOON],
    }


async def test_all_symbols_and_the_short_form(still):
    rows = (await still.get(TICKER)).json()
    assert len(rows) == 18
    assert rows[0]["symbol"] == "BTCUSDT"
    mini = (await still.get(f"{TICKER}?symbol=BTCUSDT&type=MINI")).json()
    assert "bidPrice" not in mini
    assert mini["lastPrice"] == rows[0]["lastPrice"]


async def test_a_delisted_symbol_has_no_price(still):
    row = next(row for row in (await still.get(TICKER)).json() if row["symbol"] == "MATICUSDT")
    assert set(row) == set(FIELDS.split())
    assert (row["lastPrice"], row["firstId"], row["lastId"], row["count"]) == ("0.00000000", -1, -1, 0)
    info = (await still.get("/binance/api/v3/exchangeInfo")).json()
    status = {symbol["symbol"]: symbol["status"] for symbol in info["symbols"]}
    assert len(status) == 18
    assert (status["MATICUSDT"], status["POLUSDT"]) == ("BREAK", "TRADING")
    assert info["rateLimits"] == [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}]
    assert await klines(still, "1d", symbol="MATICUSDT") == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/ticker/24hr?symbol=GOLDUSDT", -1121),
        ('/ticker/24hr?symbols=["BTCUSDT","GOLDUSDT"]', -1121),
        ('/ticker/24hr?symbols=["BTCUSDT"]&symbol=BTCUSDT', -1128),
        ("/ticker/24hr?symbol=btcusdt", -1100),
        ("/ticker/24hr?symbols=BTCUSDT", -1100),
        ("/ticker/24hr?symbols=[]", -1100),
        ("/ticker/24hr?symbols=[1]", -1100),
        ("/klines?symbol=BTCUSDT", -1102),
        ("/klines?interval=1m", -1102),
        ("/klines?symbol=GOLDUSDT&interval=1m", -1121),
        ("/klines?symbol=BTCUSDT&interval=7m", -1120),
        ("/klines?symbol=BTCUSDT&interval=1m&startTime=-1", -1100),
        ("/exchangeInfo?symbol=GOLDUSDT", -1121),
    ],
)
async def test_errors(client, path, code):
    response = await client.get(f"/binance/api/v3{path}")
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert set(response.json()) == {"code", "msg"}


async def test_small_answers(still):
    assert (await still.get("/binance/api/v3/ping")).json() == {}
    assert (await still.get("/binance/api/v3/time")).json() == {"serverTime": NOON_MS}
    unknown = await still.get("/binance/api/v3/nowhere")
    assert (unknown.status_code, unknown.headers["content-type"]) == (404, "text/html")


async def test_weights(still):
    async def used(path):
        return int((await still.get(f"/binance/api/v3{path}")).headers["x-mbx-used-weight-1m"])

    many = ",".join(["%22BTCUSDT%22"] * 21)
    paths = {"/ping": 1, "/ticker/24hr?symbol=BTCUSDT": 2, '/ticker/24hr?symbols=["BTCUSDT"]': 2, f"/ticker/24hr?symbols=[{many}]": 40}
    paths |= {"/ticker/24hr": 80, "/klines?symbol=BTCUSDT&interval=1m&limit=1": 2, "/exchangeInfo": 20, "/nowhere": 1}
    total = 0
    for path, weight in paths.items():
        total += weight
        assert await used(path) == total


async def test_klines_are_the_recorded_candles(still):
    rows = await klines(still, "5m", startTime=NOON_MS - 12 * CANDLE_MS, endTime=NOON_MS - 1)
    data = load_candles(FIVE_MINUTE_FILE)["BTC"]
    assert len(rows) == 12
    for row, number in zip(rows, range(NOON - 12, NOON), strict=True):
        assert len(row) == 12
        assert row[0] % CANDLE_MS == 0
        assert row[6] == row[0] + CANDLE_MS - 1
        expected = [column[number] for column in (data.open, data.high, data.low, data.close, data.volume)]
        assert [float(text) for text in row[1:6]] == expected
        assert [type(value) for value in row] == [int, *[str] * 5, int, str, int, *[str] * 3]


async def test_longer_klines_are_made_of_shorter_ones(still):
    start = NOON_MS - 3 * 3_600_000
    short, long = await klines(still, "5m", startTime=start, endTime=NOON_MS - 1), await klines(still, "1h", startTime=start, endTime=NOON_MS - 1)
    assert (len(short), len(long)) == (36, 3)
    for hour, of_hour in zip(long, batches(short, 12), strict=True):
        assert hour[1] == of_hour[0][1]
        assert hour[4] == of_hour[-1][4]
        assert float(hour[2]) == max(float(row[2]) for row in of_hour)
        assert float(hour[3]) == min(float(row[3]) for row in of_hour)
        assert float(hour[5]) == pytest.approx(sum(float(row[5]) for row in of_hour))


def batches(rows, size):
    return [rows[at : at + size] for at in range(0, len(rows), size)]


async def test_klines_select(still):
    latest = await klines(still, "1h", limit=2)
    assert [row[0] for row in latest] == [NOON_MS - 3_600_000, NOON_MS]
    assert len(await klines(still, "1m")) == 500
    assert len(await klines(still, "1m", limit=5000)) == 1000
    first = await klines(still, "1m", startTime=NOON_MS - 10 * 60_000 + 1, limit=3)
    assert [row[0] for row in first] == [NOON_MS - at * 60_000 for at in (9, 8, 7)]
    assert await klines(still, "1m", startTime=NOON_MS + 60_000) == []
    assert await klines(still, "1m", startTime=NOON_MS, endTime=NOON_MS - 1) == []
    week = (await klines(still, "1w", limit=1))[0]
    assert week[0] == NOON_MS - DAY_MS // 2 - DAY_MS  # 2026-11-23 is a Monday
    assert (await klines(still, "1d", limit=1, endTime=0))[0][0] == 0


async def test_five_minutes_of_ticks_are_the_klines(still, set_clock):
    """The ticker of each second agrees with the klines requested afterwards."""
    ticks = []
    for second in range(300):
        set_clock.ms = NOON_MS + second * 1000 + 999
        ticks.append(float((await still.get(f"{TICKER}?symbol=BTCUSDT&type=MINI")).json()["lastPrice"]))
        if second == 100:
            open_candle = (await klines(still, "5m", limit=1))[0]
            assert [float(text) for text in open_candle[1:5]] == [ticks[0], max(ticks), min(ticks), ticks[-1]]
    set_clock.ms = NOON_MS + 3 * DAY_MS
    five = await klines(still, "5m", startTime=NOON_MS, limit=1)
    assert [float(text) for text in five[0][1:5]] == [ticks[0], max(ticks), min(ticks), ticks[-1]]
    minutes = await klines(still, "1m", startTime=NOON_MS, limit=5)
    for row, part in zip(minutes, batches(ticks, 60), strict=True):
        assert [float(text) for text in row[1:5]] == [part[0], max(part), min(part), part[-1]]


async def test_a_simulated_coin_is_served_with_its_candles():
    pepe = Asset("pepe", "PEPE", "Pepe", {"binance": "PEPEUSDT"})
    async with (
        ReplayMarket(MarketConfig(extra_assets=(pepe,)), FakeClock(NOON_MS)) as running,
        httpx.AsyncClient(base_url=running.url, timeout=120) as http,
    ):
        row = (await http.get(f"{TICKER}?symbol=PEPEUSDT")).json()
        latest = (await klines(http, "1m", symbol="PEPEUSDT", limit=1))[0]
        assert float(row["lastPrice"]) == float(latest[4]) > 0
        assert (await http.get("/coinbase/api/v3/brokerage/market/products/PEPE-USD")).status_code == 404
