"""Two polls, or two history requests, of one object at the same time: each result contains only its own calls, prices and failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from actors.backfill.history_client import HistoryClient
from actors.fetching.build import build_provider
from cryptoviz.assets import Asset
from cryptoviz.clock import SystemClock
from cryptoviz.providers.history import MINUTE_MS, Point, Step, Window
from cryptoviz.records import Call, FallbackReason, RawExchange
from cryptoviz.settings import load_settings
from tests.support.clock import T0, FakeClock
from tests.support.ports import free_port
from tests.support.waiting import eventually_async


class HeldServer:
    """Answers a request when the test releases it. Requests are distinguished by the query parameter `key`."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._asked: dict[str, asyncio.Future[web.Response]] = {}
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        future: asyncio.Future[web.Response] = asyncio.get_running_loop().create_future()
        self._asked[request.query[self._key]] = future
        return await future

    async def arrival(self, value: str) -> None:
        async def has_arrived() -> bool:
            return value in self._asked

        await eventually_async(has_arrived)

    def release(self, value: str, body: object, **more: object) -> None:
        self._asked[value].set_result(web.json_response(body, **more))  # type: ignore[arg-type]


@pytest.fixture
async def held(request: pytest.FixtureRequest) -> AsyncIterator[HeldServer]:
    server, app, port = HeldServer(request.param), web.Application(), free_port()
    app.router.add_get("/{path:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    server.url = f"http://127.0.0.1:{port}"
    yield server
    await runner.cleanup()


def coins(*ids: str) -> list[Asset]:
    return [Asset(one, one, one, {"coingecko": one}) for one in ids]


@pytest.mark.parametrize("held", ["ids"], indirect=True)
@pytest.mark.parametrize("order", [("good", "refused"), ("refused", "good")])
async def test_overlapping_polls_have_results_of_their_own(held: HeldServer, order: tuple[str, str]):
    exchanges: list[RawExchange] = []
    provider = build_provider("coingecko", load_settings(providers={"coingecko": {"base_url": held.url}}), FakeClock(), exchanges.append)
    polls = {"good": asyncio.create_task(provider.poll(T0, coins("bitcoin", "gone"), 60.0))}
    await held.arrival("bitcoin,gone")
    polls["refused"] = asyncio.create_task(provider.poll(T0 + 1000, [*coins("ethereum"), Asset("other", "o", "o")], 60.0))
    await held.arrival("ethereum")
    for which in order:
        if which == "good":
            held.release("bitcoin,gone", [{"id": "bitcoin", "current_price": 2.5}])
        else:
            held.release("ethereum", {"status": {"error_code": 429}}, status=429, headers={"Retry-After": "7"})
        await polls[which]
    await provider.aclose()

    by_tick = {exchange.tick_ts: exchange for exchange in exchanges}
    good, refused = await polls["good"], await polls["refused"]
    assert (len(exchanges), by_tick[T0].status, by_tick[T0 + 1000].status) == (2, 200, 429)
    assert "bitcoin" in by_tick[T0].endpoint
    assert {asset_id: seen.price for asset_id, seen in good.observations.items()} == {"bitcoin": 2.5}
    assert (good.failure, good.message, good.retry_after_s) == (None, "", None)
    assert good.asset_failures == {"gone": FallbackReason.MISSING_ASSET}
    assert (refused.failure, refused.retry_after_s, refused.observations) == (FallbackReason.RATE_LIMITED, 7.0, {})
    for result, exchange in ((good, by_tick[T0]), (refused, by_tick[T0 + 1000])):
        assert (result.tick_ts, result.fetch_id, result.ingest_ts) == (exchange.tick_ts, exchange.fetch_id, exchange.finished_ts)
        assert result.fetch_ids == {}
        assert result.trace is not None
        assert result.trace.calls == (Call(1, exchange.fetch_id, whole=True),)
    # Only the good poll says which ids are listed.
    assert provider.ids.left_out == {"gone"}


@pytest.mark.parametrize("held", ["ids"], indirect=True)
@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
async def test_failures_of_single_coins_stay_with_their_poll(held: HeldServer, order: tuple[str, str]):
    provider = build_provider("coingecko", load_settings(providers={"coingecko": {"base_url": held.url}}), FakeClock(), lambda _: None)
    polls = {}
    for number, which in enumerate(("first", "second")):
        polls[which] = asyncio.create_task(provider.poll(T0 + number, coins("bitcoin", f"{which}-gone"), 60.0))
        await held.arrival(f"bitcoin,{which}-gone")
    for number, which in enumerate(order):
        held.release(f"bitcoin,{which}-gone", [{"id": "bitcoin", "current_price": 1.5 + number}])
        result = await polls[which]
        assert (result.observations["bitcoin"].price, result.asset_failures) == (1.5 + number, {f"{which}-gone": FallbackReason.MISSING_ASSET})
        assert provider.ids.left_out == {f"{which}-gone"}
    await provider.aclose()


@pytest.mark.parametrize("held", ["symbol"], indirect=True)
@pytest.mark.parametrize("order", [("BTCUSDT", "ETHUSDT"), ("ETHUSDT", "BTCUSDT")])
async def test_overlapping_history_requests_have_responses_of_their_own(held: HeldServer, order: tuple[str, str], tmp_path: Path):
    settings = load_settings(home=tmp_path, redis={"port": free_port()}, providers={"binance": {"base_url": held.url}})
    client = HistoryClient("binance", settings, SystemClock())
    ticks = {"BTCUSDT": 10 * MINUTE_MS, "ETHUSDT": 20 * MINUTE_MS}
    asked = {}
    for symbol, tick in ticks.items():
        window, step = Window((tick,), tick - MINUTE_MS, tick), Step((tick,), MINUTE_MS, 1000 * MINUTE_MS, MINUTE_MS)
        asked[symbol] = asyncio.create_task(client.fetch(symbol, window, step, lambda _: None))
        await held.arrival(symbol)
    for symbol in order:
        # The candle of the minute before the tick; the close is the fifth column, the number of trades the ninth.
        held.release(symbol, [[ticks[symbol] - MINUTE_MS, "0", "0", "0", f"{ticks[symbol]}.5", "0", 0, "0", 3]])
        response = await asked[symbol]
        assert response.points == [Point(ticks[symbol] - 1, ticks[symbol] + 0.5)]
        assert (response.exchange.tick_ts, response.exchange.attempt) == (ticks[symbol], 1)
        assert f"symbol={symbol}" in response.exchange.endpoint
        assert response.received_ms == response.exchange.finished_ts
    await client.aclose()
