"""CoinGecko's responses over real HTTP."""

import itertools
import re

import pytest

from tests.integration.market.wire import GECKO, ISO_MS, stamp_ms

pytestmark = pytest.mark.integration

FIELDS = (
    "id symbol name image current_price market_cap market_cap_rank fully_diluted_valuation total_volume high_24h low_24h price_change_24h "
    "price_change_percentage_24h market_cap_change_24h market_cap_change_percentage_24h circulating_supply total_supply max_supply ath "
    "ath_change_percentage ath_date atl atl_change_percentage atl_date roi last_updated price_change_percentage_1h_in_currency "
    "price_change_percentage_24h_in_currency price_change_percentage_7d_in_currency"
)


async def test_markets_has_every_documented_field(client):
    response = await client.get(GECKO)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert response.headers["x-cryptoviz-replay"] == "1"
    rows = response.json()
    assert len(rows) == 17
    assert [row["market_cap_rank"] for row in rows] == list(range(1, 18))
    for row in rows:
        assert set(row) == set(FIELDS.split())
        assert row["low_24h"] <= row["current_price"] <= row["high_24h"]
        assert row["market_cap"] == round(row["current_price"] * row["circulating_supply"])
        assert re.fullmatch(ISO_MS, row["last_updated"])
        before = row["current_price"] - row["price_change_24h"]
        assert row["price_change_percentage_24h_in_currency"] == pytest.approx((row["current_price"] / before - 1) * 100)
    assert rows[0]["id"] == "bitcoin"


async def test_selects_orders_and_pages(client):
    async def ids(query):
        return [row["id"] for row in (await client.get(f"/coingecko/coins/markets?vs_currency=usd&{query}")).json()]

    assert set(await ids("ids=bitcoin,polygon-ecosystem-token,no-such-coin")) == {"bitcoin", "polygon-ecosystem-token"}
    assert await ids("symbols=btc") == ["bitcoin"]
    assert await ids("order=id_asc&per_page=2") == ["algorand", "avalanche-2"]
    assert await ids("order=id_asc&per_page=2&page=2") == ["binancecoin", "bitcoin"]
    assert await ids("order=id_asc&per_page=10&page=3") == []


async def test_precision_and_sparkline(client):
    url = "/coingecko/coins/markets?vs_currency=usd&ids=vechain"
    two = (await client.get(f"{url}&precision=2")).json()[0]
    assert two["current_price"] == round(two["current_price"], 2)
    usual = (await client.get(url)).json()[0]
    assert "sparkline_in_7d" not in usual
    assert "price_change_percentage_7d_in_currency" not in usual
    line = (await client.get(f"{url}&sparkline=true")).json()[0]["sparkline_in_7d"]["price"]
    assert len(line) == 168
    assert all(0.01 < price < 0.04 for price in line)


async def test_windows_longer_than_the_recording_are_null(client):
    url = "/coingecko/coins/markets?vs_currency=usd&ids=bitcoin&price_change_percentage=14d,30d,1y"
    row = (await client.get(url)).json()[0]
    assert isinstance(row["price_change_percentage_14d_in_currency"], float)
    assert row["price_change_percentage_30d_in_currency"] is None
    assert row["price_change_percentage_1y_in_currency"] is None


async def test_retired_matic_has_no_price(client):
    row = (await client.get("/coingecko/coins/markets?vs_currency=usd&ids=matic-network")).json()[0]
    assert (row["id"], row["current_price"], row["market_cap"]) == ("matic-network", None, None)


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/coins/markets", 422, {"error": "Missing parameter vs_currency"}),
        ("/coins/markets?vs_currency=doubloon", 400, {"error": "invalid vs_currency"}),
        ("/coins/markets?vs_currency=usd&precision=much", 400, {"error": "Invalid precision"}),
        ("/coins/gold/market_chart?vs_currency=usd&days=1", 404, {"error": "coin not found"}),
        ("/coins/bitcoin/market_chart?vs_currency=doubloon&days=1", 400, {"error": "invalid vs_currency"}),
        ("/simple/price?ids=bitcoin&vs_currencies=doubloon", 200, {"bitcoin": {}}),
        ("/ping", 200, {"gecko_says": "(V3) To the Moon!"}),
    ],
)
async def test_small_answers(client, path, status, body):
    response = await client.get(f"/coingecko{path}")
    assert (response.status_code, response.json()) == (status, body)


async def test_list_names_every_coin(client):
    rows = (await client.get("/coingecko/coins/list")).json()
    assert len(rows) == 17
    assert {"id": "polygon-ecosystem-token", "symbol": "pol", "name": "Polygon"} in rows


async def test_unknown_path_is_404(client):
    assert (await client.get("/coingecko/coins/nowhere/else")).status_code == 404


async def test_key(client):
    assert (await client.get("/coingecko/key")).json()["status"]["error_code"] == 10002
    refused = await client.get(GECKO, headers={"x-cg-demo-api-key": "invalid"})
    assert (refused.status_code, refused.json()["status"]["error_code"]) == (401, 10002)
    demo = {"x-cg-demo-api-key": "CG-demo"}
    await client.get(GECKO, headers=demo)
    info = (await client.get("/coingecko/key", headers=demo)).json()
    assert info["current_total_monthly_calls"] == 1
    assert info["current_remaining_monthly_calls"] == info["monthly_call_credit"] - 1
    assert info["rate_limit_request_per_minute"] > 0


@pytest.mark.parametrize(("days", "points", "step_ms"), [("1", 289, 300_000), ("7", 169, 3_600_000), ("100", 101, 86_400_000)])
async def test_market_chart(client, market, days, points, step_ms):
    chart = (await client.get(f"/coingecko/coins/ethereum/market_chart?vs_currency=usd&days={days}")).json()
    assert set(chart) == {"prices", "market_caps", "total_volumes"}
    prices = chart["prices"]
    assert points - 1 <= len(prices) <= points + 1
    assert {later[0] - earlier[0] for earlier, later in itertools.pairwise(prices[:-1])} == {step_ms}
    assert abs(prices[-1][0] - market.clock.now_ms()) < 120_000
    assert all(price > 0 for _, price in prices)


async def test_market_chart_range(client, market):
    end_s = market.clock.now_ms() // 1000
    url = f"/coingecko/coins/ethereum/market_chart/range?vs_currency=usd&from={end_s - 7200}&to={end_s - 3600}"
    times = [at for at, _ in (await client.get(url)).json()["prices"]]
    assert len(times) == 12
    assert (end_s - 7200) * 1000 <= min(times)
    assert max(times) < (end_s - 3600) * 1000


@pytest.mark.parametrize("query", ["", "&days=x", "&days=0", "&days=nan", "&days=inf"])
async def test_bad_chart_window_is_422(client, query):
    assert (await client.get(f"/coingecko/coins/bitcoin/market_chart?vs_currency=usd{query}")).status_code == 422


async def test_chart_older_than_the_free_plan_is_refused(client):
    response = await client.get("/coingecko/coins/bitcoin/market_chart?vs_currency=usd&days=700")
    assert (response.status_code, response.json()["error"]["status"]["error_code"]) == (401, 10012)


async def test_history_is_what_was_served(client):
    """A point of the chart equals the price of `/coins/markets` at the same second."""
    for _ in range(20):
        row = (await client.get(f"{GECKO}&ids=solana")).json()[0]
        chart = (await client.get("/coingecko/coins/solana/market_chart?vs_currency=usd&days=0.01")).json()
        at, price = chart["prices"][-1]
        if at // 1000 * 1000 == stamp_ms(row["last_updated"]):
            assert price == row["current_price"]
            return
    pytest.fail("no two answers within one second in 20 tries")


async def test_a_past_range_is_the_path_that_was_served(still, set_clock):
    """The range returns the live prices of the 5-minute grid, also after the month has restarted."""
    seen = []
    for _ in range(6):
        row = (await still.get(f"{GECKO}&ids=solana")).json()[0]
        seen.append([set_clock.ms, row["current_price"]])
        set_clock.ms += 300_000
    set_clock.ms += 20 * 86_400_000
    first, last = seen[0][0] // 1000, seen[-1][0] // 1000
    chart = (await still.get(f"/coingecko/coins/solana/market_chart/range?vs_currency=usd&from={first}&to={last + 1}")).json()
    assert chart["prices"] == seen


@pytest.mark.parametrize("text", ["-1", "x", "²", "9" * 5000, "0", "1e3", "nan"])
async def test_strange_numbers_never_break_it(client, text):
    for name in ("per_page", "page", "precision"):
        response = await client.get("/coingecko/coins/markets", params={"vs_currency": "usd", name: text})
        assert response.status_code in (200, 400)
    for name in ("from", "to"):
        window = {"from": "0", "to": "1"} | {name: text}
        response = await client.get("/coingecko/coins/bitcoin/market_chart/range", params={"vs_currency": "usd"} | window)
        assert response.status_code in (401, 422)
