"""Listing check: schedule, cost, stored findings, and robustness."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from actors.fetching.build import build_provider
from actors.protection.provider_protection import ProviderProtection, build_protection
from actors.scraping.listing_check import CHECK_EVERY_S, FIRST_RETRY_S, ListingCheck
from cryptoviz.errors import ProviderUnavailable
from cryptoviz.provider_status import IdFault
from cryptoviz.providers.base import BaseProvider
from cryptoviz.records import FallbackReason
from cryptoviz.settings import Settings, load_settings
from market.server import ReplayMarket
from tests.support.clock import FakeClock
from tests.support.http_server import http_server
from tests.support.ports import free_port
from tests.support.waiting import eventually_async

LOST = {"asset_id": "lost", "symbol": "LOST", "name": "Lost", "provider_ids": {"coingecko": "no-such"}}
ENDED = {"asset_id": "polygon", "symbol": "POL", "name": "Polygon", "provider_ids": {"binance": "MATICUSDT"}}


class Clock(FakeClock):
    """Sleeps end when the test releases them; their durations are recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if seconds > 0:
            await self.gate.wait()
            self.gate.clear()


class Rig:
    """The check of one provider, without Redis, so that only local limits apply."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.clock = Clock()
        self.protection: ProviderProtection = build_protection(name, settings, self.clock)
        self.provider: BaseProvider = build_provider(name, settings, self.clock, lambda _: None, self.protection.limiter)
        own, path = settings.provider(name), settings.run_dir / f"listing-{name}.json"
        self.check = ListingCheck(self.provider, settings.assets, self.protection, own, self.clock, path)
        self.task = asyncio.create_task(self.check.run())

    async def waits(self) -> float:
        """Wait for the next pause of the check, and return its duration."""

        async def asleep() -> float:
            return self.clock.slept[-1] if self.clock.slept and self.clock.slept[-1] > 0 else 0.0

        return await eventually_async(asleep)

    async def began(self) -> bool:
        return bool(self.clock.slept)

    async def aclose(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.provider.aclose()
        await self.protection.aclose()


def settings_for(home: Path, name: str, base_url: str, **own: Any) -> Settings:
    return load_settings(
        home=home,
        redis={"url": f"redis://127.0.0.1:{free_port()}/0"},
        collect={"providers": [name]},
        extra_assets=[LOST, ENDED],
        providers={name: {"base_url": base_url, **own}},
    )


@asynccontextmanager
async def checking(settings: Settings, name: str) -> AsyncIterator[Rig]:
    rig = Rig(settings, name)
    try:
        yield rig
    finally:
        await rig.aclose()


def asked(market: ReplayMarket) -> list[str]:
    return [entry["endpoint"] for entry in json.loads(market.request_log.page(0, 10_000))["entries"]]


async def test_it_asks_once_behind_the_first_good_poll_and_not_again_after_a_restart(tmp_path: Path):
    async with ReplayMarket() as market:
        settings = settings_for(tmp_path, "coingecko", market.base_url("coingecko"))
        async with checking(settings, "coingecko") as rig:
            assert await eventually_async(rig.began)
            assert asked(market) == []
            rig.check.polled()
            # A listing with problems is checked again sooner.
            assert await rig.waits() == settings.provider("coingecko").quota.look_up_s
            assert asked(market) == ["/coins/list"]
            (problem,) = rig.check.status.problems
            assert (problem.asset_id, problem.provider_id, problem.fault) == ("lost", "no-such", IdFault.NOT_LISTED)
            assert (rig.check.status.checked_ms, rig.check.status.note) == (rig.clock.now_ms(), "")
            assert rig.protection.meter.usage.month_used == 1
        async with checking(settings, "coingecko") as rig:
            rig.check.polled()
            await rig.waits()
            assert [problem.provider_id for problem in rig.check.status.problems] == ["no-such"]
            assert asked(market) == ["/coins/list"]
        # Stored findings are not used for other ids or a different host.
        more = settings.model_copy(update={"extra_assets": (), "crypto_list": ("BTC",)})
        async with checking(more, "coingecko") as rig:
            assert await rig.waits() == CHECK_EVERY_S
            assert asked(market) == ["/coins/list"]
            assert rig.check.status.problems == ()
        (settings.run_dir / "listing-coingecko.json").write_text("{}")
        async with checking(settings, "coingecko") as rig:
            rig.check.polled()
            await rig.waits()
            assert asked(market) == ["/coins/list"] * 2


async def test_a_listing_call_has_its_own_weight_and_does_not_delay_polls(tmp_path: Path):
    async with ReplayMarket() as market:
        settings = settings_for(tmp_path, "binance", market.base_url("binance"), quota={"per_minute": 21})
        async with checking(settings, "binance") as rig:
            rig.check.polled()
            await rig.waits()
            (problem,) = rig.check.status.problems
            assert (problem.provider_id, problem.fault, problem.detail) == ("MATICUSDT", IdFault.NOT_TRADED, "BREAK")
            # 20 of 21 are used: a poll of weight 2 is refused at once.
            with pytest.raises(ProviderUnavailable, match="local rate limit") as refused:
                await asyncio.wait_for(rig.protection.limiter.acquire(), 5.0)
            assert refused.value.reason is FallbackReason.RATE_LIMITED


@pytest.mark.parametrize(
    ("status", "headers", "held"),
    [
        (429, {"Retry-After": "77"}, FallbackReason.RATE_LIMITED),
        (402, {"Retry-After": "77"}, FallbackReason.QUOTA),
        (403, {}, None),
        (503, {}, None),
        (404, {}, None),
    ],
)
async def test_a_refused_listing_is_reported_and_holds_the_polls(tmp_path: Path, status: int, headers: dict[str, str], held):
    async def refuse(request: web.Request) -> web.StreamResponse:
        del request
        return web.json_response({"error": "no"}, status=status, headers=headers)

    async with http_server(refuse) as url, checking(settings_for(tmp_path, "coingecko", url), "coingecko") as rig:
        rig.check.polled()
        pauses = [await rig.waits()]
        assert f"HTTP {status}" in rig.check.status.note
        assert rig.check.status.checked_ms is None
        hold = rig.protection.hold(rig.clock)
        assert (hold and FallbackReason(hold.reason)) == held
        if hold is not None:
            assert hold.until_ms == rig.clock.now_ms() + 77_000
        for _ in range(7):
            before = len(rig.clock.slept)
            rig.clock.ms += 90_000
            rig.clock.gate.set()

            async def slept_again(before: int = before) -> bool:
                return len(rig.clock.slept) > before

            await eventually_async(slept_again)
            pauses.append(await rig.waits())
        # Failed calls count at some providers: the pauses double up to the look-up interval.
        assert pauses == [FIRST_RETRY_S * 2**n for n in range(6)] + [21_600.0] * 2


@pytest.mark.parametrize("kind", ["large", "bomb", "html", "redirect", "empty"])
async def test_a_hostile_list_changes_nothing(tmp_path: Path, kind: str):
    async def harm(request: web.Request) -> web.StreamResponse:
        del request
        if kind == "redirect":
            raise web.HTTPFound("http://127.0.0.1:1/internal")
        if kind == "html":
            return web.Response(text="<html>", content_type="text/html")
        answer = web.json_response([{"id": "x" * 60}] * (0 if kind == "empty" else 20_000))
        if kind == "bomb":
            answer.enable_compression(web.ContentCoding.gzip)
        return answer

    settings = settings_for(tmp_path, "coingecko", "", max_body_bytes=1024 * 1024)
    async with http_server(harm) as url:
        own = settings.provider("coingecko").model_copy(update={"base_url": url})
        async with checking(settings.model_copy(update={"providers": {"coingecko": own}}), "coingecko") as rig:
            rig.check.polled()
            assert await rig.waits() == FIRST_RETRY_S
            assert rig.check.status.note
            assert (rig.check.status.checked_ms, rig.check.status.problems, rig.protection.hold(rig.clock)) == (None, (), None)


async def test_the_check_ends_for_a_provider_without_a_listing(tmp_path: Path):
    async with ReplayMarket() as market:
        async with checking(settings_for(tmp_path, "coinpaprika", market.base_url("coinpaprika")), "coinpaprika") as rig:
            rig.check.polled()
            await asyncio.wait_for(rig.task, 60)
            assert rig.check.status.note == ""
        assert asked(market) == []
