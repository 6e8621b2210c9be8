"""Providers over gRPC and from the command line, on a real cluster: breaker tripped and reset, opened by a hang and closed by a probe, a ban obeyed,
quota kept.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest
import redis as redis_client

from actors.protection.provider_protection import build_protection
from cryptoviz.cli.cluster import stop_ray
from cryptoviz.client import ControlClient
from cryptoviz.clock import SystemClock
from cryptoviz.components import ComponentState, ComponentStatus
from cryptoviz.errors import ControlRefused, ProviderUnavailable, UnknownComponent
from cryptoviz.provider_status import BreakerState, ProviderStatus, ScraperStatus
from cryptoviz.records import FallbackReason
from cryptoviz.settings import Settings, claim_home, load_settings
from tests.support.ports import free_ports
from tests.support.ray_cluster import launch_controller, start_cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration]
PROVIDERS = ("coingecko", "coinmarketcap", "binance")
SCRAPERS = tuple(f"scraper/{name}" for name in PROVIDERS)
MONTH = 1_000_000
TICK_S = 1.0


def is_running(client: ControlClient, name: str) -> bool:
    return client.get(name).state is ComponentState.RUNNING


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    kafka, controller, redis, control, gcs, client, page, dashboard, market = free_ports(9)
    return claim_home(
        load_settings(
            "demo",
            home=tmp_path_factory.mktemp("home"),
            kafka={"port": kafka, "controller_port": controller},
            redis={"port": redis},
            control={"port": control},
            ray={"gcs_port": gcs, "client_port": client, "dashboard_port": page},
            dashboard={"port": dashboard},
            market={"port": market},
            collect={"tick_s": TICK_S, "providers": PROVIDERS},
            providers={
                "coingecko": {"breaker": {"failures": 3, "failing_s": 2.0, "open_s": 2.0, "max_open_s": 4.0}, "quota": {"per_month": MONTH}},
            },
        )
    )


@pytest.fixture(scope="module")
def control(settings: Settings) -> Iterator[ControlClient]:
    start_cluster(settings)
    try:
        launch_controller(settings)
        with ControlClient.from_settings(settings, timeout_s=60) as client:
            for name in ("redis", "collector", *SCRAPERS):
                client.start(name)
            for name in ("redis", "collector", *SCRAPERS):
                eventually(partial(is_running, client, name), 240, 0.2)
            yield client
    finally:
        stop_ray(settings)


def scraper(control: ControlClient, name: str) -> ScraperStatus:
    status = control.provider(name).scraper
    assert status is not None
    return status


def latest(settings: Settings) -> tuple[str, str, str | None]:
    """Provider, role and reason of the newest bitcoin record."""
    with redis_client.Redis.from_url(**settings.redis.connection(60)) as client:
        record = orjson.loads(client.hget("cryptoviz:latest", "bitcoin") or b"{}")
    return record.get("provider", ""), record.get("role", ""), record.get("fallback_reason")


def eventually_latest(settings: Settings, *expected: str | None, timeout_s: float = 120.0) -> None:
    def so() -> bool:
        assert latest(settings) == expected
        return True

    eventually(so, timeout_s, 0.1)


PRIMARY = ("coingecko", "primary", None)


def market(settings: Settings, call: Callable[..., httpx.Response], **more: Any) -> None:
    call(f"http://127.0.0.1:{settings.market.port}/_market/faults", timeout=60, **more).raise_for_status()


def test_every_provider_is_shown_with_breaker_quota_and_latency(control: ControlClient, settings: Settings):
    eventually_latest(settings, *PRIMARY)

    def in_order() -> list[ScraperStatus]:
        rows = control.providers()
        assert [(row.name, row.rank, row.enabled, row.state) for row in rows] == [
            ("coingecko", 1, True, ComponentState.RUNNING),
            ("coinmarketcap", 2, True, ComponentState.RUNNING),
            ("binance", 3, True, ComponentState.RUNNING),
        ]
        found = [row.scraper for row in rows if row.scraper is not None]
        assert len(found) == len(rows)
        assert {one.breaker.state for one in found} == {BreakerState.CLOSED}
        return found

    # A busy machine may have failed polls.
    first, second, _ = eventually(in_order, 120, 0.2)
    (month,) = first.quotas
    assert (month.period, month.limit, month.used + month.left) == ("month", MONTH, MONTH)
    assert month.used >= 1
    assert second.quotas == ()
    assert first.latency_ms is not None
    assert first.last_good_ms is not None

    def checked() -> bool:
        return all((one := scraper(control, name)).ids.checked_ms is not None and one.ids.problems == () for name in PROVIDERS)

    # Their listings were read after the first poll.
    eventually(checked, 60, 0.2)


def test_a_tripped_breaker_falls_back_until_it_is_reset(control: ControlClient, settings: Settings):
    eventually_latest(settings, *PRIMARY)
    tripped = control.trip_breaker("coingecko", "maintenance at theirs").scraper
    assert tripped is not None
    assert (tripped.breaker.state, tripped.breaker.by_operator, tripped.breaker.reason) == (BreakerState.OPEN, True, "maintenance at theirs")
    used = tripped.quotas[0].used
    eventually_latest(settings, "coinmarketcap", "fallback", "breaker_open")
    assert scraper(control, "coingecko").quotas[0].used <= used + 1
    reset = control.reset_breaker("coingecko").scraper
    assert reset is not None
    assert reset.breaker.state is BreakerState.CLOSED
    eventually_latest(settings, *PRIMARY)


def test_a_hanging_provider_opens_its_breaker_and_a_probe_closes_it(control: ControlClient, settings: Settings):
    eventually_latest(settings, *PRIMARY)
    market(settings, httpx.post, json={"provider": "coingecko", "kind": "hang"})
    try:
        eventually_latest(settings, "coinmarketcap", "fallback", "timeout")
        eventually(lambda: scraper(control, "coingecko").breaker.state is not BreakerState.CLOSED, 60, 0.1)
        eventually_latest(settings, "coinmarketcap", "fallback", "breaker_open")
    finally:
        market(settings, httpx.delete)
    eventually_latest(settings, *PRIMARY)

    def closed_by_the_probe() -> ScraperStatus:
        status = scraper(control, "coingecko")
        assert (status.breaker.state, status.breaker.reason) == (BreakerState.CLOSED, "the probe was good")
        return status

    assert "no" in eventually(closed_by_the_probe).last_error
    assert control.get("scraper/coingecko").restarts == 0


def test_a_ban_is_obeyed_by_all_on_the_node_and_is_no_reason_for_a_new_scraper(control: ControlClient, settings: Settings):
    ban_s = 15  # longer than a busy machine takes for the calls in it
    before = eventually(lambda: running(control, "scraper/binance"), 120, 0.2)
    opens = scraper(control, "binance").breaker.opens_total
    market(settings, httpx.post, json={"provider": "binance", "kind": "http_status", "parameters": {"status": 418, "retry_after": ban_s}, "count": 1})
    hold = eventually(lambda: scraper(control, "binance").hold, 60, 0.1)
    assert hold is not None
    assert hold.reason == "rate_limited"

    def degraded_status() -> ComponentStatus | None:
        seen = control.get("scraper/binance")
        return seen if seen.state is ComponentState.DEGRADED and "binance asked to wait (rate_limited) until" in seen.message else None

    degraded = eventually(degraded_status, 60, 0.1)
    assert degraded is not None

    async def somebody_else() -> FallbackReason:
        """Answers as a backfill on this node would get. Calls no provider."""
        protection = build_protection("binance", settings, SystemClock())
        await protection.load()
        with pytest.raises(ProviderUnavailable) as refused:
            await protection.limiter.acquire()
        await protection.aclose()
        return FallbackReason(refused.value.reason)

    assert asyncio.run(somebody_else()) is FallbackReason.RATE_LIMITED
    assert scraper(control, "binance").breaker.opens_total == opens
    after = eventually(lambda: running(control, "scraper/binance"), 120, 0.2)
    assert after is not None
    assert before is not None
    assert (degraded.pid, after.pid, after.restarts) == (before.pid, before.pid, before.restarts)
    entries = httpx.get(f"http://127.0.0.1:{settings.market.port}/_market/ledger", params={"limit": 10_000}, timeout=60).json()["entries"]
    (banned_ms,) = [entry["ts_ms"] for entry in entries if entry["provider"] == "binance" and entry["status"] == 418]
    since = [entry for entry in entries if entry["ts_ms"] >= banned_ms]
    later = [entry["ts_ms"] - banned_ms for entry in since if entry["provider"] == "binance" and entry["status"] != 418]
    assert later
    assert min(later) >= ban_s * 1000
    others = {entry["ts_ms"] // 1000 for entry in since if entry["provider"] == "coingecko" and entry["ts_ms"] < banned_ms + ban_s * 1000}
    assert len(others) >= 3  # in as many seconds: they are polled as before, if not in each tick of a busy machine


def running(control: ControlClient, component: str) -> ComponentStatus | None:
    seen = control.get(component)
    return seen if seen.state is ComponentState.RUNNING and not seen.message.count("asked to wait") else None


def test_a_killed_scraper_forgets_neither_its_use_nor_the_operator(control: ControlClient, settings: Settings):
    eventually_latest(settings, *PRIMARY)
    tripped = control.trip_breaker("coingecko").scraper
    assert tripped is not None
    before = control.get("scraper/coingecko")
    assert before.pid is not None
    psutil.Process(before.pid).kill()

    def back() -> ProviderStatus | None:
        row = control.provider("coingecko")
        return row if row.scraper is not None and control.get("scraper/coingecko").pid not in (None, before.pid) else None

    row = eventually(back, 180, 0.2)
    assert row is not None
    assert row.scraper is not None
    assert row.scraper.breaker.by_operator
    assert row.scraper.quotas[0].used >= tripped.quotas[0].used
    control.reset_breaker("coingecko")
    eventually_latest(settings, *PRIMARY)


def test_a_stopped_scraper_and_wrong_names(control: ControlClient):
    control.stop("scraper/coinmarketcap")
    eventually(lambda: control.get("scraper/coinmarketcap").state is ComponentState.STOPPED, 120, 0.2)
    row = control.provider("coinmarketcap")
    assert (row.state, row.scraper) == (ComponentState.STOPPED, None)
    with pytest.raises(ControlRefused, match="FAILED_PRECONDITION"):
        control.trip_breaker("coinmarketcap")
    with pytest.raises(UnknownComponent, match="valid: coingecko, coinmarketcap, binance"):
        control.provider("acme")
    control.start("scraper/coinmarketcap")
    eventually(lambda: control.get("scraper/coinmarketcap").state is ComponentState.RUNNING, 120, 0.2)


def test_the_command_line_shows_and_switches(control: ControlClient, settings: Settings):
    def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = str(Path(sys.executable).with_name("cryptoviz"))
        environment = os.environ | {"CRYPTOVIZ_HOME": str(settings.home), "COLUMNS": "200"}
        return subprocess.run([command, "providers", *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False)

    eventually(lambda: scraper(control, "coingecko").breaker.state is BreakerState.CLOSED)
    shown = cli("--json")
    assert shown.returncode == 0, shown.stderr
    rows = {row["name"]: row for row in json.loads(shown.stdout)["providers"]}
    assert rows["coingecko"]["breaker"]["state"] == "closed"
    assert rows["coingecko"]["quotas"][0]["limit"] == MONTH
    tripped = cli("trip", "coingecko", "--reason", "by hand")
    assert tripped.stdout.strip() == "coingecko: breaker open by hand"
    table = cli().stdout
    assert "by operator: by hand" in table
    assert "of 1,000,000 a month" in table
    assert cli("reset", "coingecko").stdout.startswith("coingecko: breaker closed")
    wrong = cli("trip", "acme")
    assert wrong.returncode == 1
    assert "valid: coingecko, coinmarketcap, binance" in wrong.stderr
