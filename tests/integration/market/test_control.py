"""Control of faults, the request log compared with the client's responses, limits, restarts."""

import asyncio
import json
import signal
import subprocess
import sys

import httpx
import pytest

from cryptoviz.settings import MarketLimits
from market.dialects import DIALECTS
from market.faultbook import ALL_KINDS
from market.server import MarketConfig, ReplayMarket
from tests.integration.market.wire import CMC, GECKO, KEYED, entries
from tests.support.ports import free_port
from tests.support.waiting import eventually, eventually_async

pytestmark = pytest.mark.integration


async def test_faults_expire_and_are_listed(client):
    spec = {"provider": "coingecko", "kind": "http_status", "parameters": {"status": 503}, "count": 1}
    created = (await client.post("/_market/faults", json=spec)).json()
    listed = (await client.get("/_market/faults")).json()
    assert listed["faults"] == [created]
    assert set(listed["valid"]["kinds"]) == set(ALL_KINDS)
    assert [(await client.get(GECKO)).status_code for _ in range(2)] == [503, 200]
    assert (await client.get("/_market/faults")).json()["faults"] == []


async def test_faults_end_with_their_duration(still, set_clock):
    spec = {"provider": "coingecko", "kind": "http_status", "parameters": {"status": 500}, "duration_s": 30}
    assert (await still.post("/_market/faults", json=spec)).status_code == 201
    set_clock.advance(29)
    assert (await still.get(GECKO)).status_code == 500
    set_clock.advance(2)
    assert (await still.get(GECKO)).status_code == 200


async def test_faults_are_deleted_by_provider(client, ask):
    await ask("empty")
    await ask("empty", "coinmarketcap")
    assert (await client.delete("/_market/faults?provider=coingecko")).json() == {"cleared": 1}
    assert [fault["provider"] for fault in (await client.get("/_market/faults")).json()["faults"]] == ["coinmarketcap"]


@pytest.mark.parametrize("body", [b"not json", b'{"provider":"coingecko","kind":"explode"}', b"[]", b"\xff\xfe", b"[" * 5000])
async def test_bad_fault_is_400_and_says_what_is_valid(client, body):
    response = await client.post("/_market/faults", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]
    assert "latency" in response.json()["valid"]["kinds"]


@pytest.mark.parametrize("query", ["since=-1", "since=x", "limit=0", "limit=10001", "since=%C2%B2"])
async def test_bad_ledger_page_is_400(client, query):
    assert (await client.get(f"/_market/ledger?{query}")).status_code == 400


async def test_unknown_places_say_what_there_is(client):
    assert (await client.get("/_market/nowhere")).status_code == 404
    assert (await client.get("/nasdaq/quotes")).json()["valid"] == sorted(DIALECTS)


async def test_clock(client):
    clock = (await client.get("/_market/clock")).json()
    assert clock["market_time"].startswith("2022-11-")
    assert clock["market_time"][11:19] == clock["wall_time"][11:19]


async def test_the_ledger_is_what_the_client_saw(client):
    """Forty parallel requests to both providers: the request log has the number and prices of each response and no other entry."""
    paths = [GECKO, CMC, "/coingecko/ping", "/coinmarketcap/v3/cryptocurrency/quotes/latest?id=1"]
    responses = await asyncio.gather(*(client.get(path) for path in paths * 10))
    seen = {}
    for response in responses:
        prices = {}
        if response.request.url.path.endswith("/coins/markets"):
            prices = {row["id"]: row["current_price"] for row in response.json()}
        elif "public-api" in response.request.url.path:
            prices = {str(coin["id"]): coin["quote"][0]["price"] for coin in response.json()["data"]}
        seen[int(response.headers["x-market-seq"])] = (response.status_code, prices)
    assert len(seen) == 40
    assert {entry["seq"]: (entry["status"], entry["prices"]) for entry in await entries(client)} == seen


async def test_prices_move_with_their_stamp(client):
    async def row():
        return (await client.get(f"{GECKO}&ids=bitcoin")).json()[0]

    first = await row()

    async def three_later_prices():
        now = await row()
        seen.setdefault(now["last_updated"], now["current_price"])
        return len(seen) >= 3

    seen = {first["last_updated"]: first["current_price"]}
    await eventually_async(three_later_prices)
    assert len(set(seen.values())) >= 2


async def test_sequence_and_ledger_survive_a_restart(tmp_path):
    config = MarketConfig(home=tmp_path)
    for expected in ([1, 2], [1, 2, 3, 4]):
        async with ReplayMarket(config) as running, httpx.AsyncClient(base_url=running.url, timeout=120) as http:
            await http.get(GECKO)
            await http.get(CMC)
            assert [entry["seq"] for entry in await entries(http)] == expected


def test_a_killed_market_continues_its_numbering(tmp_path):
    """kill -9 of the command line's market: numbering continues, all entries are kept."""
    port = free_port()
    command = [sys.executable, "-m", "market", "--port", str(port), "--home", str(tmp_path)]

    def answers():
        try:
            return int(httpx.get(f"http://127.0.0.1:{port}/coingecko/ping", timeout=120).headers["x-market-seq"])
        except httpx.TransportError:
            return None

    last = []
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                eventually(answers, timeout_s=120)
                last.append(answers())
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
    lines = [json.loads(line)["seq"] for line in (tmp_path / "ledger.jsonl").read_bytes().splitlines()]
    assert lines == list(range(1, last[1] + 1))
    assert last[1] == last[0] + 2


async def test_stop_cuts_trickling_answers_soon():
    market = ReplayMarket()
    await market.start()
    async with httpx.AsyncClient(base_url=market.url, timeout=120) as http:
        await http.post("/_market/faults", json={"provider": "coingecko", "kind": "slow_loris", "parameters": {"interval_s": 60}})
        async with http.stream("GET", GECKO) as response:
            async with asyncio.timeout(50):  # before the next byte
                await market.stop()
            assert response.status_code == 200


@pytest.fixture
async def strict():
    limits = {"coingecko": MarketLimits(per_minute=3), "coinmarketcap": MarketLimits(per_month=2)}
    async with ReplayMarket(MarketConfig(limits=limits)) as running, httpx.AsyncClient(base_url=running.url, timeout=120) as http:
        yield http


async def test_over_the_minute_limit_coingecko_says_429_with_retry_after(strict):
    # four calls may span two minutes, eight cannot all be accepted
    answers = [await strict.get("/coingecko/ping") for _ in range(8)]
    limited = [answer for answer in answers if answer.status_code == 429]
    assert limited
    assert limited[0].headers["retry-after"] == "60"
    assert limited[0].json()["status"]["error_code"] == 429


async def test_over_the_month_limit_coinmarketcap_says_1010(strict):
    answers = [await strict.get("/coinmarketcap/v3/cryptocurrency/quotes/latest?id=1", headers=KEYED) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["status"]["error_code"] == 1010
    assert "retry-after" not in answers[2].headers
