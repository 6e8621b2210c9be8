"""The scraper's probe reports schema drift and unlisted ids. There is no broker: collection continues without it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.scraping.actor import ScraperActor
from cryptoviz.components import Probe
from cryptoviz.provider_status import IdFault
from cryptoviz.records import TickResult
from cryptoviz.settings import load_settings
from market.server import ReplayMarket
from tests.support.ports import free_ports
from tests.support.waiting import eventually_async


class Collector:
    def __init__(self) -> None:
        self.results: list[TickResult] = []

    async def submit(self, result: TickResult) -> None:
        self.results.append(result)

    async def deregister(self, provider: str) -> None:
        """Nothing."""


@pytest.fixture(autouse=True)
def publishers_end() -> Iterator[None]:
    """Wait for publishers without a broker: a call of theirs outlasts the stop by seconds, and would write to the log of a later test."""
    yield
    for thread in threading.enumerate():
        if thread.name.endswith("-publisher"):
            thread.join(120)
            assert not thread.is_alive()


async def test_schema_drift_degrades_and_unlisted_ids_are_reported(tmp_path: Path):
    ports = free_ports(2)
    async with ReplayMarket() as market:
        settings = load_settings(
            home=tmp_path,
            kafka={"bootstrap_servers": f"127.0.0.1:{ports[0]}"},
            redis={"url": f"redis://127.0.0.1:{ports[1]}/0"},
            collect={"tick_s": 1.0, "providers": ["binance"]},
            extra_assets=[
                {"asset_id": "lost", "symbol": "LOST", "name": "Lost", "provider_ids": {"binance": "LOSTUSDT"}},
                {"asset_id": "polygon", "symbol": "POL", "name": "Polygon", "provider_ids": {"binance": "MATICUSDT"}},
            ],
            providers={"binance": {"base_url": market.base_url("binance")}},
        )
        collector = Collector()
        scraper = ScraperActor(settings, "binance", collector)
        await scraper.start()

        async def probed(text: str, degraded: bool) -> Probe | None:
            probe = await scraper.probe()
            return probe if text in probe.message and probe.degraded is degraded and collector.results else None

        try:
            expected = "LOSTUSDT (lost) is not in its list, MATICUSDT (polygon) is not traded: BREAK (CRYPTOVIZ_EXTRA_ASSETS, provider_ids.binance)"
            probe = await eventually_async(lambda: probed(expected, False))
            assert probe is not None
            assert (probe.healthy, probe.metrics["unlisted_ids"], probe.metrics["shape_lost_fields"]) == (True, 2.0, 0.0)
            status = await scraper.provider_status()
            assert status is not None
            assert status.ids.checked_ms is not None
            assert [(one.asset_id, one.fault) for one in status.ids.problems] == [("lost", IdFault.NOT_LISTED), ("polygon", IdFault.NOT_TRADED)]
            market.faults.add({"provider": "binance", "kind": "shape_version", "parameters": {"shape": "mini"}}, market.clock.monotonic_s())
            probe = await eventually_async(lambda: probed("shape changed: lost priceChangePercent", True))
            assert probe is not None
            # Rows are still complete: the drift is reported before a field is missing.
            assert probe.healthy
            await eventually_async(lambda: asyncio.sleep(0, len(collector.results[-1].observations) == 16))
            market.faults.clear()
            probe = await eventually_async(lambda: probed("LOSTUSDT", False))
            assert probe is not None
            assert "shape" not in probe.message
        finally:
            await scraper.stop()


async def test_a_provider_that_was_never_reached_is_not_delivered(tmp_path: Path):
    ports = free_ports(3)
    settings = load_settings(
        home=tmp_path,
        kafka={"bootstrap_servers": f"127.0.0.1:{ports[0]}"},
        redis={"url": f"redis://127.0.0.1:{ports[1]}/0"},
        collect={"tick_s": 2.0, "providers": ["coingecko"]},  # on a busy machine a refusal takes its time too
        providers={"coingecko": {"base_url": f"http://127.0.0.1:{ports[2]}"}},
    )
    scraper = ScraperActor(settings, "coingecko", Collector())
    await scraper.start()

    async def with_an_open_breaker() -> Probe | None:
        probe = await scraper.probe()
        # Throughout, before and after the first polls: not delivered, and polls are suspended only by our own breaker.
        assert (probe.running, probe.delivered, probe.degraded) == (True, False, False)
        assert probe.message
        return probe if "the breaker is open" in probe.message else None

    try:
        probe = await eventually_async(with_an_open_breaker)
        assert probe is not None
        # No restart, and the reason is in the message.
        assert probe.healthy
        assert probe.metrics["failures_total"] >= 1
        assert "ConnectError" in probe.message, probe.message
    finally:
        await scraper.stop()
