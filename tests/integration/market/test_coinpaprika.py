"""CoinPaprika's responses over real HTTP."""

import re

import pytest

from tests.integration.market.wire import NOON_MS, stamp_ms

pytestmark = pytest.mark.integration

TICKERS = "/coinpaprika/v1/tickers"
FIELDS = "id name symbol rank total_supply max_supply beta_value first_data_at last_updated quotes"
QUOTE = (
    "price volume_24h volume_24h_change_24h market_cap market_cap_change_24h percent_change_15m percent_change_30m percent_change_1h "
    "percent_change_6h percent_change_12h percent_change_24h percent_change_7d percent_change_30d percent_change_1y ath_price ath_date "
    "percent_from_price_ath"
)


async def test_tickers_have_every_field(still):
    rows = (await still.get(TICKERS)).json()
    assert [row["rank"] for row in rows] == list(range(1, 18))
    assert rows[0]["id"] == "btc-bitcoin"
    for row in rows:
        assert list(row) == FIELDS.split()
        usd = row["quotes"]["USD"]
        assert set(usd) == set(QUOTE.split())
        assert usd["price"] > 0
        assert isinstance(usd["market_cap"], int)
        assert isinstance(row["total_supply"], int)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row["last_updated"])
        assert stamp_ms(row["last_updated"]) == NOON_MS - 2000
        # the recording is not longer
        assert (usd["percent_change_30d"], usd["percent_change_1y"]) == (0, 0)
    assert "pol-polygon-ecosystem-token" in {row["id"] for row in rows}
    assert all("circulating_supply" not in row for row in rows)


async def test_an_unknown_maximum_is_0(still):
    rows = {row["symbol"]: row for row in (await still.get(TICKERS)).json()}
    assert (rows["ETH"]["max_supply"], rows["BTC"]["max_supply"]) == (0, 21_000_000)
    assert rows["ATOM"]["total_supply"] == 0


async def test_changes_are_those_of_its_own_prices(still, set_clock):
    async def bitcoin():
        return (await still.get(f"{TICKERS}/btc-bitcoin")).json()["quotes"]["USD"]

    now = await bitcoin()
    for name, minutes in {"15m": 15, "1h": 60, "12h": 720, "7d": 10_080}.items():
        set_clock.ms = NOON_MS - minutes * 60_000
        before = (await bitcoin())["price"]
        assert now[f"percent_change_{name}"] == pytest.approx((now["price"] / before - 1) * 100, abs=0.006)


async def test_one_ticker_is_a_row_of_all(still):
    assert (await still.get(f"{TICKERS}/eth-ethereum")).json() == (await still.get(TICKERS)).json()[1]


async def test_coins(still):
    rows = (await still.get("/coinpaprika/v1/coins")).json()
    assert len(rows) == 17
    assert rows[0] == {"id": "btc-bitcoin", "name": "Bitcoin", "symbol": "BTC", "rank": 1, "is_new": False, "is_active": True, "type": "coin"}


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [("/v1/tickers/gold", 404, "id not found"), ("/v1/nowhere", 404, "not found"), ("/v1/tickers?quotes=DBL", 400, "bad request")],
)
async def test_errors(client, path, status, error):
    response = await client.get(f"/coinpaprika{path}")
    assert (response.status_code, response.json()) == (status, {"error": error})
