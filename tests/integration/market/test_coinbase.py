"""Coinbase's responses over real HTTP."""

import pytest

from market.recorded import FIVE_MINUTE_FILE, load_candles
from tests.integration.market.wire import NOON_MS

pytestmark = pytest.mark.integration

PRODUCTS = "/coinbase/api/v3/brokerage/market/products"
FIELDS = (
    "product_id price price_percentage_change_24h volume_24h volume_percentage_change_24h base_increment quote_increment quote_min_size "
    "quote_max_size base_min_size base_max_size base_name quote_name watched is_disabled new status cancel_only limit_only post_only "
    "trading_disabled auction_mode product_type quote_currency_id base_currency_id fcm_trading_session_details mid_market_price alias alias_to "
    "base_display_symbol quote_display_symbol view_only price_increment display_name product_venue approximate_quote_24h_volume"
)
NOON_S = NOON_MS // 1000


async def candles(client, granularity, start, end, **rest):
    response = await client.get(f"{PRODUCTS}/BTC-USD/candles", params={"granularity": granularity, "start": start, "end": end, **rest})
    assert response.status_code == 200, response.text
    return response.json()["candles"]


async def test_a_product_has_every_field(still):
    row = (await still.get(f"{PRODUCTS}/BTC-USD")).json()
    assert list(row) == FIELDS.split()
    for name in ("price", "price_percentage_change_24h", "volume_24h", "approximate_quote_24h_volume"):
        assert isinstance(row[name], str)
        assert float(row[name])
    assert (row["status"], row["trading_disabled"], row["base_name"]) == ("online", False, "Bitcoin")
    recorded = load_candles(FIVE_MINUTE_FILE)["BTC"].open[8 * 288 + 144]
    assert float(row["price"]) == pytest.approx(recorded, rel=3.1e-4)
    assert float(row["approximate_quote_24h_volume"]) == pytest.approx(float(row["volume_24h"]) * float(row["price"]))


async def test_the_list(still):
    body = (await still.get(PRODUCTS)).json()
    assert len(body["products"]) == body["num_products"] == 17
    asked = (await still.get(f"{PRODUCTS}?product_ids=ETH-USD&product_ids=GOLD-USD&product_ids=BTC-USD")).json()
    assert [row["product_id"] for row in asked["products"]] == ["ETH-USD", "BTC-USD"]
    page = (await still.get(f"{PRODUCTS}?limit=2&offset=1")).json()
    assert ([row["product_id"] for row in page["products"]], page["num_products"]) == (["ETH-USD", "BNB-USD"], 17)


@pytest.mark.parametrize(
    ("path", "status", "name"),
    [
        ("/GOLD-USD", 404, "NOT_FOUND"),
        ("/GOLD-USD/candles?granularity=ONE_DAY&start=1&end=2", 404, "NOT_FOUND"),
        ("/BTC-USD/book/deep", 404, "NOT_FOUND"),
        ("?limit=x", 400, "INVALID_ARGUMENT"),
        ("/BTC-USD/candles", 400, "INVALID_ARGUMENT"),
        ("/BTC-USD/candles?granularity=ONE_YEAR&start=1&end=2", 400, "INVALID_ARGUMENT"),
        ("/BTC-USD/candles?granularity=ONE_DAY&start=2&end=1", 400, "INVALID_ARGUMENT"),
        ("/BTC-USD/candles?granularity=ONE_MINUTE&start=0&end=21000", 400, "INVALID_ARGUMENT"),
    ],
)
async def test_errors(client, path, status, name):
    response = await client.get(PRODUCTS + path)
    assert (response.status_code, response.json()["error"]) == (status, name)
    assert set(response.json()) == {"error", "error_details", "message"}


async def test_time(still):
    body = (await still.get("/coinbase/api/v3/brokerage/time")).json()
    assert body == {"iso": "2026-11-24T12:00:00Z", "epochSeconds": str(NOON_S), "epochMillis": str(NOON_MS)}


async def test_five_minutes_of_ticks_are_the_candles(still, set_clock):
    ticks = []
    for second in range(300):
        set_clock.ms = NOON_MS + second * 1000
        ticks.append((await still.get(f"{PRODUCTS}/BTC-USD")).json()["price"])
    set_clock.ms = NOON_MS + 600_000
    rows = await candles(still, "FIVE_MINUTE", NOON_S - 300, NOON_S)
    assert [int(row["start"]) for row in rows] == [NOON_S, NOON_S - 300]  # newest first
    first = rows[0]
    assert list(first) == ["start", "low", "high", "open", "close", "volume"]
    assert (first["open"], first["close"]) == (ticks[0], ticks[-1])
    assert (first["high"], first["low"]) == (max(ticks, key=float), min(ticks, key=float))
    minutes = await candles(still, "ONE_MINUTE", NOON_S, NOON_S + 240)
    assert [row["open"] for row in reversed(minutes)] == ticks[::60]
    assert len(await candles(still, "ONE_MINUTE", NOON_S - 3000, NOON_S, limit=7)) == 7
