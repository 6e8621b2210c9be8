"""REST trades page to exactly what was made, within the venues' limits, and fail as faults ask."""

from typing import Any

import httpx
import pytest

from market.server import MarketConfig, ReplayMarket
from tests.integration.market.feed import BTC, made, subscribed
from tests.integration.market.wire import NOON_MS
from tests.support.clock import FakeClock

pytestmark = pytest.mark.integration

NOON_US = NOON_MS * 1_000
URLS = {
    "binance": "/binance/api/v3/historicalTrades?symbol=BTCUSDT&limit=1000",
    "kraken": "/kraken/0/public/Trades?pair=XBTUSD&count=1000",
    "coinbase": "/coinbase/products/BTC-USD/trades?limit=1000",
}


@pytest.fixture
def fault(still):
    async def post(kind, provider, **parameters):
        assert (await still.post("/_market/faults", json={"provider": provider, "kind": kind, "parameters": parameters})).status_code == 201

    return post


async def binance_pages(still, first):
    rows: list[Any] = []
    while page := (await still.get(f"{URLS['binance']}&fromId={first + len(rows)}")).raise_for_status().json():
        rows += page
    return [[row["id"], row["price"], row["qty"], "sell" if row["isBuyerMaker"] else "buy", row["time"]] for row in rows]


async def kraken_pages(still, since_ns):
    rows: list[Any] = []
    while True:
        result = (await still.get(f"{URLS['kraken']}&since={since_ns}")).json()["result"]
        if not result["XXBTZUSD"]:
            return [[row[6], row[0], row[1], {"b": "buy", "s": "sell"}[row[3]], round(row[2] * 1_000_000)] for row in rows]
        rows += result["XXBTZUSD"]
        since_ns = result["last"]


async def coinbase_pages(still, first):
    rows: list[Any] = []
    after = None
    while not rows or rows[-1]["trade_id"] > first:
        response = await still.get(URLS["coinbase"] + ("" if after is None else f"&after={after}"))
        rows += response.json()
        after = response.headers["cb-after"]
    flipped = {"buy": "sell", "sell": "buy"}
    return [[row["trade_id"], row["price"], row["size"], flipped[row["side"]], row["time"]] for row in reversed(rows) if row["trade_id"] >= first]


async def test_pages_are_what_was_made(still):
    since_us = NOON_US - 2_000 * 1_000_000
    whole = {venue: await made(still, venue, BTC[venue], since_us=since_us) for venue in BTC}
    assert [len(rows) for rows in whole.values()] == [3_401] * 3
    binance = await binance_pages(still, whole["binance"][0][0])
    as_binance = [[row[0], f"{float(row[1]):.8f}", f"{float(row[2]):.8f}", row[3], row[4] // 1_000] for row in whole["binance"]]
    assert binance == as_binance
    # `since` is exclusive
    assert await kraken_pages(still, (since_us - 1) * 1_000) == whole["kraken"]
    assert [row[:4] for row in await coinbase_pages(still, whole["coinbase"][0][0])] == [row[:4] for row in whole["coinbase"]]


async def test_limits_of_rows(still):
    assert len((await still.get("/binance/api/v3/historicalTrades?symbol=BTCUSDT")).json()) == 500
    refused = await still.get("/binance/api/v3/historicalTrades?symbol=BTCUSDT&limit=1001")
    assert (refused.status_code, refused.json()) == (400, {"code": -1130, "msg": "Data sent for parameter 'limit' is not valid."})
    assert (await still.get("/binance/api/v3/historicalTrades?symbol=NOPE")).json() == {"code": -1121, "msg": "Invalid symbol."}
    assert (await still.get("/kraken/0/public/Trades?pair=XBTUSD&count=1001")).json() == {"error": ["EGeneral:Invalid arguments"]}
    assert (await still.get("/kraken/0/public/Trades?pair=NOPE")).json() == {"error": ["EQuery:Unknown asset pair"]}
    assert len((await still.get("/coinbase/products/BTC-USD/trades?limit=5000")).json()) == 1_000
    unknown = await still.get("/coinbase/products/NO-USD/trades")
    assert (unknown.status_code, unknown.json()) == (404, {"message": "NotFound"})


async def test_shapes(still):
    [row] = (await still.get("/binance/api/v3/historicalTrades?symbol=BTCUSDT&limit=1")).json()
    assert list(row) == ["id", "price", "qty", "quoteQty", "time", "isBuyerMaker", "isBestMatch"]
    assert f"{float(row['price']) * float(row['qty']):.4f}" == f"{float(row['quoteQty']):.4f}"
    [fine] = (await still.get("/binance/api/v3/historicalTrades?symbol=BTCUSDT&limit=1", headers={"X-MBX-TIME-UNIT": "MICROSECOND"})).json()
    assert fine["time"] // 1_000 == row["time"]
    body = (await still.get("/kraken/0/public/Trades?pair=XBTUSD&count=1")).json()
    [trade] = body["result"]["XXBTZUSD"]
    assert [type(value) for value in trade] == [str, str, float, str, str, str, int]
    assert body["result"]["last"] == str(round(trade[2] * 1_000_000) * 1_000)
    newest, older = (await still.get("/coinbase/products/BTC-USD/trades?limit=2")).json()
    assert newest["trade_id"] == older["trade_id"] + 1
    assert [*newest] == ["trade_id", "side", "size", "price", "time"]


async def test_coinbase_candles_are_made_of_the_trades(still):
    start = NOON_MS // 1_000 - 120
    rows = (await still.get(f"/coinbase/products/BTC-USD/candles?granularity=60&start={start}&end={start + 60}")).json()
    assert [row[0] for row in rows] == [start + 60, start]
    trades = await made(still, "coinbase", "BTC-USD", since_us=start * 1_000_000, until_us=(start + 60) * 1_000_000 - 1)
    prices = [float(trade[1]) for trade in trades]
    assert rows[1][1:5] == [min(prices), max(prices), prices[0], prices[-1]]
    assert rows[1][5] == pytest.approx(sum(float(trade[2]) for trade in trades), rel=1e-12)
    assert (await still.get("/coinbase/products/BTC-USD/candles?granularity=61")).json() == {"message": "Unsupported granularity"}


@pytest.mark.parametrize("venue", BTC)
async def test_a_late_and_a_short_refill(still, fault, venue):
    trades = await made(still, venue, BTC[venue], since_us=NOON_US - 60_000_000)
    await fault("refill_late", venue, seconds=20)
    await fault("refill_short", venue, seconds=40)
    body = (await still.get(URLS[venue])).json()
    rows = body["result"]["XXBTZUSD"] if venue == "kraken" else body
    ids = sorted(row[6] if venue == "kraken" else row["id" if venue == "binance" else "trade_id"] for row in rows)
    assert ids == [row[0] for row in trades if NOON_US - 40_000_000 <= row[4] <= NOON_US - 20_000_000]


async def test_a_limited_refill_leaves_prices_alone(still, fault):
    await fault("refill_limited", "*")
    binance, kraken, coinbase = [await still.get(URLS[venue]) for venue in ("binance", "kraken", "coinbase")]
    assert (binance.status_code, binance.json()["code"], "Retry-After" in binance.headers) == (429, -1003, True)
    assert (kraken.status_code, kraken.json()) == (200, {"error": ["EGeneral:Too many requests"]})
    assert (coinbase.status_code, coinbase.json()) == (429, {"message": "Public rate limit exceeded"})
    assert (await still.get("/binance/api/v3/ticker/24hr?symbol=BTCUSDT")).status_code == 200


async def test_the_ledger_says_what_a_refill_brought(still):
    [row] = (await still.get("/coinbase/products/BTC-USD/trades?limit=1")).json()
    await still.get("/binance/api/v3/historicalTrades?symbol=BTCUSDT&fromId=200000000&limit=10")
    refills = (await still.get("/_market/streams")).json()["refills"]
    assert [(each["venue"], each["symbol"], each["sent"]) for each in refills] == [
        ("coinbase", "BTC-USD", [[row["trade_id"], row["trade_id"]]]),
        ("binance", "BTCUSDT", [[200_000_000, 200_000_009]]),
    ]


@pytest.mark.parametrize("venue", BTC)
async def test_stream_and_refill_together_are_what_was_made(still, set_clock, fault, venue):
    """A client that was away for a minute, and whose stream lost trades, has all of them after the refill."""
    url = str(still.base_url).rstrip("/")
    first = (await made(still, venue, BTC[venue], since_us=NOON_US))[0][0]
    async with subscribed(url, venue) as feed:
        await fault("stream_drop", venue)
        set_clock.advance(30)
        await still.delete("/_market/faults")
        set_clock.advance(30)
        await feed.until(lambda _: feed.trade_ids())
    set_clock.advance(60)
    async with subscribed(url, venue) as again:
        set_clock.advance(30)
        await again.until(lambda _: again.trade_ids())
    streamed = set(feed.trade_ids()) | set(again.trade_ids())
    refilled = {row[0] for row in await {"binance": binance_pages, "coinbase": coinbase_pages}.get(venue, _kraken)(still, first)}
    whole = {row[0] for row in await made(still, venue, BTC[venue], from_id=first)}
    assert streamed < whole
    assert streamed | refilled == whole


async def _kraken(still, first):
    assert first
    return await kraken_pages(still, (NOON_US - 1) * 1_000)


async def test_the_made_trades_are_the_same_after_a_restart_and_by_any_page(tmp_path):
    async with ReplayMarket(MarketConfig(home=tmp_path), FakeClock(NOON_MS)) as one, httpx.AsyncClient(base_url=one.url, timeout=120) as http:
        rows = await made(http, "kraken", "ETH/USD", since_us=NOON_US - 60_000_000)
        by_one = [(await http.get(f"/_market/trades?venue=kraken&symbol=ETH/USD&from_id={row[0]}&limit=1")).json()["trades"][0] for row in rows[:20]]
    assert by_one == rows[:20]
    async with ReplayMarket(MarketConfig(home=tmp_path), FakeClock(NOON_MS)) as two, httpx.AsyncClient(base_url=two.url, timeout=120) as http:
        assert await made(http, "kraken", "ETH/USD", since_us=NOON_US - 60_000_000) == rows


async def test_bad_questions_say_what_is_valid(still):
    unknown = await still.get("/_market/trades?venue=kraken&symbol=XBT/USD")
    assert (unknown.status_code, "BTC/USD" in unknown.json()["valid"]["kraken"]) == (400, True)
    assert (await still.get("/_market/trades?venue=kraken&symbol=BTC/USD&limit=0")).status_code == 400
    assert (await still.get("/_market/streams?limit=x")).status_code == 400
    assert (await still.get("/_market/instruments")).json()["binance"]["BTCUSDT"] == "bitcoin"
