"""Limits over HTTP: weights, refusals, bans, headers, and their configuration."""

import pytest

from tests.integration.market.wire import ALL, GECKO

pytestmark = pytest.mark.integration


@pytest.fixture
def plan(still):
    """Sets a provider's limits."""

    async def set_limits(provider, **limits):
        response = await still.post("/_market/limits", json={"provider": provider, **limits})
        assert response.status_code == 200, response.text
        return response.json()["limits"][provider]

    return set_limits


async def test_binance_refuses_then_bans(still, plan, set_clock):
    await plan("binance", per_minute=4, ban_after=2)
    set_clock.ms += 15_000
    answers = [await still.get(ALL["binance"]) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429, 418]
    assert [answer.headers["x-mbx-used-weight-1m"] for answer in answers] == ["2", "4", "6", "8", "10"]
    assert answers[2].headers["retry-after"] == "45"
    assert answers[2].json()["msg"].startswith("Too much request weight used; current limit is 4 request weight per 1 MINUTE.")
    assert answers[4].headers["retry-after"] == "120"
    assert f"IP banned until {set_clock.now_ms() + 120_000}." in answers[4].json()["msg"]
    # the ban is longer than the minute
    set_clock.ms += 119_000
    still_banned = await still.get(ALL["binance"])
    assert (still_banned.status_code, still_banned.headers["retry-after"]) == (418, "1")
    set_clock.ms += 1_000
    assert (await still.get(ALL["binance"])).status_code == 200


async def test_a_refused_client_that_waits_is_not_banned(still, plan, set_clock):
    await plan("binance", per_minute=2, ban_after=1)
    for _ in range(3):
        answers = [await still.get(ALL["binance"]) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 429]
        set_clock.ms += 1000 * int(answers[1].headers["retry-after"])


async def test_kraken_says_so_with_200(still, plan):
    await plan("kraken", per_minute=1)
    answers = [await still.get(ALL["kraken"]) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[1].json() == {"error": ["EGeneral:Too many requests"]}


async def test_coinpaprika_wants_payment_for_more_than_the_month(still, plan, set_clock):
    await plan("coinpaprika", per_month=2)
    answers = [await still.get(ALL["coinpaprika"]) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 402]
    set_clock.ms += 7 * 86_400_000  # December
    assert (await still.get(ALL["coinpaprika"])).status_code == 200
    await plan("coinpaprika", per_minute=1)
    set_clock.ms += 60_000
    assert [(await still.get(ALL["coinpaprika"])).status_code for _ in range(2)] == [200, 429]


async def test_coinbase_counts_seconds(still, plan, set_clock):
    await plan("coinbase", per_second=2)
    answers = [await still.get(ALL["coinbase"]) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    assert answers[0].headers["x-ratelimit-limit"] == "2"
    set_clock.ms += 1000
    assert (await still.get(ALL["coinbase"])).status_code == 200


async def test_limits_are_listed_set_and_reset(still, plan):
    generous = {"per_minute": 6000, "per_month": 10_000_000, "per_second": None, "ban_after": 10}
    assert (await still.get("/_market/limits")).json()["limits"] == dict.fromkeys(ALL, generous)
    assert await plan("coingecko", per_minute=1) == generous | {"per_minute": 1}
    assert [(await still.get(GECKO)).status_code for _ in range(2)] == [200, 429]
    await plan("kraken", per_minute=0)
    reset = (await still.delete("/_market/limits?provider=coingecko")).json()["limits"]
    assert (reset["coingecko"], reset["kraken"]["per_minute"]) == (generous, 0)
    assert (await still.get(GECKO)).status_code == 200
    assert (await still.delete("/_market/limits")).json()["limits"] == dict.fromkeys(ALL, generous)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"provider": "nasdaq"}, "unknown provider 'nasdaq'; valid: coingecko"),
        ({"provider": "kraken", "per_minute": -1}, "per_minute"),
        ({"provider": "kraken", "per_hour": 1}, "per_hour"),
        ({}, "provider"),
        ([], "body"),
    ],
)
async def test_bad_limits_say_what_is_valid(still, body, says):
    response = await still.post("/_market/limits", json=body)
    assert response.status_code == 400
    assert says in response.json()["error"]
    assert set(response.json()["valid"]) == {"provider", "per_minute", "per_month", "per_second", "ban_after"}


@pytest.mark.parametrize("provider", ALL)
async def test_bodies_are_zipped_for_clients_that_ask(still, provider):
    url = ALL[provider].partition("?pair")[0]  # three pairs of Kraken are too few
    zipped = await still.get(url, headers={"Accept-Encoding": "gzip, deflate"})
    plain = await still.get(url, headers={"Accept-Encoding": "identity"})
    assert (zipped.headers["content-encoding"], zipped.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert "content-encoding" not in plain.headers
    assert zipped.json() == plain.json()
    assert int(zipped.headers["content-length"]) < len(plain.content)


async def test_small_bodies_are_not_zipped(still):
    assert "content-encoding" not in (await still.get("/coingecko/ping")).headers
