"""History from a real HTTP server, for each provider: prices as the provider served them live, and holds."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from actors.backfill.history_client import HistoryClient, HistoryResponse
from actors.backfill.series import price_at, windows
from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.clock import SystemClock
from cryptoviz.errors import NoHistory, ProviderUnavailable
from cryptoviz.providers.registry import HISTORY_PROVIDERS
from cryptoviz.records import FallbackReason
from cryptoviz.settings import Settings, load_settings
from market.dialects import DIALECTS
from market.quotes import Market
from market.server import MarketConfig, ReplayMarket
from tests.support.ports import free_port

pytestmark = pytest.mark.integration
MINUTE = 60_000
BITCOIN = DEFAULT_ASSETS[0]


class PatientClock(SystemClock):
    """Records the requested waits."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await super().sleep(seconds)


def settings_at(market: ReplayMarket, home: Path) -> Settings:
    """Providers at the market; without Redis only this process is counted."""
    return load_settings(
        home=home,
        redis={"port": free_port()},
        collect={"tick_s": 60},
        providers={one: {"base_url": market.base_url(one)} for one in HISTORY_PROVIDERS},
    )


async def ask(history_client: HistoryClient, ticks: list[int]) -> HistoryResponse:
    (step,) = history_client.source.steps(ticks, SystemClock().now_ms())
    (window,) = windows(ticks, step.span_ms, step.lookback_ms)
    return await history_client.fetch(BITCOIN.provider_ids[history_client.name], window, step, lambda _: None)


@pytest.mark.parametrize("name", sorted(HISTORY_PROVIDERS))
async def test_prices_are_those_that_were_served_then(name: str, tmp_path: Path) -> None:
    oracle, price_view = Market(MarketConfig().seed), DIALECTS[name].price_view
    coin = next(coin for coin in oracle.coins if coin.asset.asset_id == BITCOIN.asset_id)
    async with ReplayMarket() as market:
        history_client = HistoryClient(name, settings_at(market, tmp_path), SystemClock())
        last = SystemClock().now_ms() // MINUTE * MINUTE - 10 * MINUTE
        ticks = list(range(last - 300 * MINUTE, last + 1, MINUTE))
        asked = await ask(history_client, ticks)
        await history_client.aclose()
    assert history_client.calls == 1
    for tick in ticks:
        point = price_at(asked.points, tick, 900_000)
        assert point is not None
        assert tick - {"coingecko": 5 * MINUTE}.get(name, MINUTE) <= point.at_ms <= tick
        assert point.price == pytest.approx(oracle.price(price_view, coin, point.at_ms // 1000 * 1000), rel=1e-4)
    exchange = asked.exchange
    assert (exchange.provider, exchange.tick_ts, exchange.outcome, exchange.status) == (name, ticks[0], "ok", 200)


async def test_a_refusal_is_waited_for_and_binds_the_scraper(tmp_path: Path) -> None:
    async with ReplayMarket() as market:
        clock, settings = PatientClock(), settings_at(market, tmp_path)
        history_client = HistoryClient("binance", settings, clock)
        market.faults.add(
            {"provider": "binance", "kind": "http_status", "parameters": {"status": 429, "retry_after": 1}, "count": 1}, market.clock.monotonic_s()
        )  # fmt: skip
        asked = await ask(history_client, [SystemClock().now_ms() // MINUTE * MINUTE - 10 * MINUTE])
        await history_client.aclose()
        assert asked.points
        assert history_client.calls >= 2
        entries = orjson.loads(market.request_log.page(0, 10_000))["entries"]
        refused, *later = [(entry["status"], entry["ts_ms"]) for entry in entries if entry["provider"] == "binance"]
        assert refused[0] == 429
        assert min(ts_ms for _, ts_ms in later) >= refused[1] + 1_000
        assert sum(clock.waits) > 0.5
        assert (settings.run_dir / "hold-off-binance.json").exists()


async def test_what_the_provider_never_had_and_a_breaker_that_is_open(tmp_path: Path) -> None:
    async with ReplayMarket() as market:
        settings = settings_at(market, tmp_path)
        history_client = HistoryClient("coingecko", settings, SystemClock())
        with pytest.raises(NoHistory, match="exceeds the allowed time range"):
            await ask(history_client, [1_700_000_000_000 // MINUTE * MINUTE])
        await history_client.aclose()

        opened = HistoryClient("kraken", settings, SystemClock())
        opened.protection.breaker.trip("maintenance there", SystemClock().now_ms())
        with pytest.raises(ProviderUnavailable, match="breaker is open") as refused:
            await ask(opened, [SystemClock().now_ms() // MINUTE * MINUTE - 10 * MINUTE])
        assert refused.value.reason is FallbackReason.BREAKER_OPEN
        assert opened.calls == 0
        await opened.aclose()
