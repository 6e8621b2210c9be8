"""CoinMarketCap's responses over real HTTP."""

import re

import pytest

from tests.integration.market.wire import CMC, GECKO, ISO_MS, KEYED

pytestmark = pytest.mark.integration

COIN_FIELDS = (
    "id name symbol slug cmc_rank num_market_pairs circulating_supply total_supply max_supply infinite_supply date_added last_updated "
    "tags platform quote"
)
QUOTE_FIELDS = (
    "price volume_24h volume_change_24h percent_change_1h percent_change_24h percent_change_7d percent_change_30d percent_change_60d "
    "percent_change_90d market_cap market_cap_dominance fully_diluted_market_cap last_updated"
)


@pytest.mark.parametrize(("prefix", "headers"), [("", KEYED), ("/public-api", {})])
async def test_v3_has_every_documented_field(client, prefix, headers):
    url = f"/coinmarketcap{prefix}/v3/cryptocurrency/quotes/latest?id=1,28321&convert=USD&skip_invalid=true"
    response = await client.get(url, headers=headers)
    assert response.status_code == 200
    assert response.headers["x-cryptoviz-replay"] == "1"
    body = response.json()
    assert set(body["status"]) == {"timestamp", "error_code", "error_message", "elapsed", "credit_count", "notice"}
    assert (body["status"]["error_code"], body["status"]["credit_count"]) == ("0", 1)
    assert [(coin["id"], coin["symbol"]) for coin in body["data"]] == [(1, "BTC"), (28321, "POL")]
    for coin in body["data"]:
        assert set(coin) >= set(COIN_FIELDS.split())
        (quote,) = coin["quote"]
        assert set(quote) >= {"id", "symbol", *QUOTE_FIELDS.split()}
        assert (quote["id"], quote["symbol"]) == (2781, "USD")
        assert quote["market_cap"] == pytest.approx(quote["price"] * coin["circulating_supply"])
        assert re.fullmatch(ISO_MS, quote["last_updated"])
    assert body["data"][0]["cmc_rank"] == 1


async def test_older_shapes(client):
    async def data(version, query):
        response = await client.get(f"/coinmarketcap/{version}/cryptocurrency/quotes/latest?{query}", headers=KEYED)
        assert response.json()["status"]["error_code"] == 0
        return response.json()["data"]

    assert (await data("v1", "id=1"))["1"]["quote"]["USD"]["price"] > 0
    assert (await data("v1", "symbol=BTC"))["BTC"]["quote"]["USD"]["price"] > 0
    assert (await data("v2", "id=1,1027"))["1027"]["name"] == "Ethereum"
    assert (await data("v2", "symbol=btc"))["BTC"][0]["quote"]["USD"]["price"] > 0
    assert (await data("v2", "slug=bitcoin"))["1"]["symbol"] == "BTC"


@pytest.mark.parametrize("version", ["v1", "v3"])
async def test_listings(client, version):
    body = (await client.get(f"/coinmarketcap/{version}/cryptocurrency/listings/latest?start=2&limit=3", headers=KEYED)).json()
    assert [coin["cmc_rank"] for coin in body["data"]] == [2, 3, 4]
    assert body["status"]["total_count"] == 17


async def test_the_map_of_ids(client):
    async def rows(query, prefix="", headers=KEYED):
        body = (await client.get(f"/coinmarketcap{prefix}/v1/cryptocurrency/map?{query}", headers=headers)).json()
        assert (body["status"]["error_code"], body["status"]["credit_count"]) == ("0" if prefix else 0, 1)
        return body["data"]

    bitcoin, *others = await rows("")
    assert (bitcoin["id"], bitcoin["rank"], bitcoin["slug"], bitcoin["is_active"], len(others)) == (1, 1, "bitcoin", 1, 16)
    assert list(bitcoin) == ["id", "rank", "name", "symbol", "slug", "platform", "first_historical_data", "last_historical_data", "is_active"]
    by_rank = await rows("sort=cmc_rank&start=2&limit=3&aux=is_active", "/public-api", {})
    assert [row["rank"] for row in by_rank] == [2, 3, 4]
    assert set(by_rank[0]) == {"id", "rank", "name", "symbol", "slug", "is_active"}
    assert [(row["id"], row["is_active"]) for row in await rows("listing_status=inactive&aux=is_active,status")] == [(3890, 0)]


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/v3/cryptocurrency/quotes/latest?id=1", {}, 401, 1002),
        ("/v3/cryptocurrency/quotes/latest?id=1", {"X-CMC_PRO_API_KEY": "invalid"}, 401, 1001),
        ("/v3/cryptocurrency/quotes/latest", KEYED, 400, 400),
        ("/v3/cryptocurrency/quotes/latest?id=1,999999", KEYED, 400, 400),
        ("/v3/cryptocurrency/quotes/latest?symbol=BTC,NOPE", KEYED, 400, 400),
        ("/v3/cryptocurrency/quotes/latest?id=1&convert=XAU", KEYED, 400, 400),
        ("/v1/cryptocurrency/listings/latest?limit=5001", KEYED, 400, 400),
        ("/v1/cryptocurrency/listings/latest?start=0", KEYED, 400, 400),
        ("/v1/key/info", {}, 401, 1002),
        ("/v1/cryptocurrency/map", {}, 401, 1002),
        ("/v1/cryptocurrency/map?limit=5001", KEYED, 400, 400),
        ("/v1/cryptocurrency/map?start=0", KEYED, 400, 400),
        ("/v1/cryptocurrency/map?sort=name", KEYED, 400, 400),
        ("/v1/cryptocurrency/map?listing_status=dead", KEYED, 400, 400),
        ("/v1/cryptocurrency/map?aux=nothing", KEYED, 400, 400),
        ("/public-api/v3/nowhere", {}, 200, 500),
    ],
)
async def test_errors_have_no_data(client, path, headers, status, code):
    response = await client.get(f"/coinmarketcap{path}", headers=headers)
    assert (response.status_code, response.json()["status"]["error_code"]) == (status, code)
    assert "data" not in response.json()


async def test_unknown_keyed_path_is_404(client):
    assert (await client.get("/coinmarketcap/v9/nowhere", headers=KEYED)).status_code == 404


async def test_unknown_coins(client):
    path = "/coinmarketcap{}/v3/cryptocurrency/quotes/latest?{}"
    keyed = await client.get(path.format("", "id=1,999999&skip_invalid=true"), headers=KEYED)
    assert [coin["id"] for coin in keyed.json()["data"]] == [1]
    keyless = (await client.get(path.format("/public-api", "symbol=NOPE"))).json()
    assert (keyless["status"]["error_code"], keyless["data"]) == ("0", [])


async def test_key_info_counts_credits_but_costs_none(client):
    await client.get("/coinmarketcap/v3/cryptocurrency/quotes/latest?id=1", headers=KEYED)
    await client.get("/coinmarketcap/v3/cryptocurrency/quotes/latest?id=999999", headers=KEYED)
    for _ in range(2):
        data = (await client.get("/coinmarketcap/v1/key/info", headers=KEYED)).json()["data"]
        assert data["usage"]["current_month"]["credits_used"] == 1
        assert set(data["plan"]) >= {"credit_limit_monthly", "credit_limit_monthly_reset_timestamp", "rate_limit_minute"}


async def test_providers_differ_by_some_basis_points(client):
    near = {row["symbol"].upper(): row["current_price"] for row in (await client.get(GECKO)).json()}
    far = {coin["symbol"]: coin["quote"][0]["price"] for coin in (await client.get(CMC)).json()["data"]}
    for symbol, price in far.items():
        # up to 6 bps of spread, and a second or two apart in time as well
        assert abs(price / near[symbol] - 1) < 0.01
    assert any(price != near[symbol] for symbol, price in far.items())


@pytest.mark.parametrize("text", ["-1", "x", "²", "9" * 5000, "0", "1e3"])
async def test_strange_numbers_are_refused(client, text):
    for name in ("start", "limit"):
        response = await client.get("/coinmarketcap/v3/cryptocurrency/listings/latest", params={name: text}, headers=KEYED)
        assert response.status_code == 400
    response = await client.get("/coinmarketcap/v3/cryptocurrency/quotes/latest", params={"id": text}, headers=KEYED)
    assert response.status_code == 400
