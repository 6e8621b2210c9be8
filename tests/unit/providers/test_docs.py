"""The worked examples of docs/providers.md do what the page says."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from actors.backfill.history_client import HistoryClient
from actors.backfill.series import windows
from actors.fetching.build import build_provider
from control.operations.catalog import invalid_arguments
from cryptoviz.clock import SystemClock
from cryptoviz.errors import SettingsError
from cryptoviz.operations import BackfillArguments
from cryptoviz.plans import plans_of
from cryptoviz.providers.history import Point
from cryptoviz.providers.plan import Cost, Plan
from cryptoviz.providers.registry import display_name, forget_loaded, provider_class
from cryptoviz.records import FallbackReason, RawExchange
from cryptoviz.settings import load_settings
from market.server import MarketConfig, ReplayMarket
from tests.support.http_server import http_server
from tests.support.ports import free_port

PAGE = (Path(__file__).parents[3] / "docs" / "providers.md").read_text(encoding="utf-8")


SIX = ("coingecko", "coinmarketcap", "coinpaprika", "kraken", "coinbase", "binance")


def block(language: str, containing: str) -> str:
    found: str
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if containing in text]
    return found


def variables(text: str) -> dict[str, str]:
    return {name: value.strip("'") for name, value in re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE)}


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


async def test_adding_a_coin(monkeypatch: pytest.MonkeyPatch):
    for name, value in variables(block("bash", "dogecoin")).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CRYPTO_LIST", "BTC,ETH,DOGE")
    assets = load_settings().assets
    assert [asset.asset_id for asset in assets] == ["bitcoin", "ethereum", "dogecoin"]
    async with ReplayMarket(MarketConfig(extra_assets=load_settings().extra_assets)) as market:
        for name in SIX:
            settings = load_settings(providers={name: {"base_url": market.base_url(name)}})
            provider = build_provider(name, settings, SystemClock(), lambda _: None)
            result = await provider.poll(0, settings.assets, 10.0)
            await provider.aclose()
            assert set(result.observations) == {"bitcoin", "ethereum", "dogecoin"}


@pytest.mark.usefixtures("acme")
async def test_extending_a_coin(monkeypatch: pytest.MonkeyPatch):
    before = load_settings().assets
    for name, value in variables(block("bash", '"asset_id": "bitcoin"')).items():
        monkeypatch.setenv(name, value)
    assets = load_settings().assets
    assert [asset.asset_id for asset in assets] == [asset.asset_id for asset in before]
    assert assets[0].provider_ids == before[0].provider_ids | {"acme": "xbt"}


def test_all_six(monkeypatch: pytest.MonkeyPatch):
    assert load_settings().collect.providers == SIX
    for name, value in variables(block("bash", "order of preference")).items():
        monkeypatch.setenv(name, value)
    assert load_settings().collect.providers == SIX
    for name in SIX:
        assert provider_class(name).spec.base_url in PAGE
        assert f"| `{name}` |" in PAGE


async def _acme(request: web.Request) -> web.Response:
    if request.headers.get("x-acme-key") != "k":
        return web.json_response({}, status=401)
    prices = {
        "xbt": {"usd": 64000.5, "volume": 10, "at": "2026-01-01T00:00:00Z"},
        "eth": {"usd": 0},
    }
    return web.json_response({"prices": {name: prices[name] for name in request.query["ids"].split(",")}})


async def _acme_minutes(request: web.Request) -> web.Response:
    # 2026-01-01T00:00:00Z is 1 767 225 600 s; five minutes before the tick at 00:01.
    assert dict(request.query) == {"id": "xbt", "from": "1767225360000", "to": "1767225660000"}
    return web.json_response({"minutes": [[1_767_225_659_999, 64001.5], [1_767_225_599_999, 64000.5], [1_767_225_539_999, None]]})


@pytest.fixture
async def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The example as an installed package, and its API."""
    folder = tmp_path / "site"
    info = folder / "acme_prices-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-prices\nVersion: 1.0\n")
    package = tomllib.loads(block("toml", "entry-points"))
    ((name, value),) = package["project"]["entry-points"]["cryptoviz.providers"].items()
    (info / "entry_points.txt").write_text(f"[cryptoviz.providers]\n{name} = {value}\n")
    (module,) = package["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    (folder / module).write_text(block("python", "AcmeProvider"))
    monkeypatch.syspath_prepend(str(folder))
    for name, value in variables(block("bash", "ACME")).items():
        monkeypatch.setenv(name, value.replace("...", "k"))
    async with http_server({"/v1/prices": _acme, "/v1/minutes": _acme_minutes}) as url:
        yield url
    sys.modules.pop("acme_prices", None)
    forget_loaded()


def test_setup_keeps_a_package_that_was_installed_beside_the_locked_ones() -> None:
    text = (Path(__file__).parents[3] / "scripts" / "setup").read_text(encoding="utf-8")
    calls = [line.strip() for line in text.splitlines() if '"$uv" sync' in line]
    assert len(calls) == 1
    assert "--inexact" in calls[0].split()


async def test_adding_a_provider(acme: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CRYPTOVIZ_PROVIDERS__ACME__BASE_URL", acme)
    settings = load_settings()
    assert settings.collect.providers == ("coingecko", "coinmarketcap", "acme")
    exchanges: list[RawExchange] = []
    provider = build_provider("acme", settings, SystemClock(), exchanges.append)
    result = await provider.poll(60_000, settings.assets[:3], 10.0)
    await provider.aclose()
    assert result.failure is None
    assert set(result.observations) == {"bitcoin"}
    bitcoin = result.observations["bitcoin"]
    assert (bitcoin.price, bitcoin.provider_asset_id, bitcoin.source_ts, bitcoin.volume_24h) == (64000.5, "xbt", 1_767_225_600_000, 10.0)
    assert result.asset_failures == {"ethereum": FallbackReason.BAD_PAYLOAD, "binancecoin": FallbackReason.MISSING_ASSET}
    assert (exchanges[0].status, exchanges[0].outcome) == (200, "ok")


async def test_everything_else_follows_from_its_spec(acme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    keyed = load_settings()
    # 17 coins are one call. With the key: the paid plan, which counts no months.
    assert plans_of(keyed)["acme"] == (Plan(per_minute=60), Cost(1))
    assert provider_class("acme").spec.headers(keyed.provider("acme")) == {"x-acme-key": "k"}
    monkeypatch.delenv("CRYPTOVIZ_PROVIDERS__ACME__API_KEY")
    free = load_settings()
    assert plans_of(free)["acme"] == (Plan(per_minute=60, per_month=5_000), Cost(1))
    with pytest.raises(SettingsError, match=r"CRYPTOVIZ_PROVIDERS__ACME__PLAN is 'fre' \(did you mean free\?\): valid are free, paid"):
        load_settings(providers={"acme": {"plan": "fre"}})
    assert {asset.asset_id: asset.provider_ids["acme"] for asset in free.assets if "acme" in asset.provider_ids} == {
        "bitcoin": "xbt",
        "ethereum": "eth",
    }
    # What a backfill and `CRYPTO_LIST` ask for.
    assert free.find_assets(("bitcoin",))[0].provider_ids["acme"] == "xbt"
    assert [asset.asset_id for asset in load_settings(crypto_list="xbt").assets] == ["bitcoin"]
    with pytest.raises(SettingsError, match="assets 'bitcoin' and 'dogecoin' both have the id 'xbt' at acme"):
        load_settings(extra_assets=[{"asset_id": "dogecoin", "symbol": "DOGE", "name": "Dogecoin", "provider_ids": {"acme": "xbt"}}])
    assert display_name("acme") == "Acme"
    assert display_name("gone") == "gone"

    assert free.collect.history_providers == ("acme", "binance")
    arguments = BackfillArguments(start_ms=0, end_ms=60_000, provider="acme")
    assert not [text for field, text in invalid_arguments(arguments, free, 10**13) if "provider" in field]
    settings = load_settings(home=tmp_path / "home", redis={"port": free_port()}, providers={"acme": {"base_url": acme}})
    history_client = HistoryClient("acme", settings, SystemClock())
    assert await history_client.currency("xbt", print) == "USD"
    (step,) = history_client.source.steps([1_767_225_660_000], 1_767_229_200_000)
    (window,) = windows(step.ticks, step.span_ms, step.lookback_ms)
    response = await history_client.fetch("xbt", window, step, print)
    await history_client.aclose()
    assert response.points == [Point(1_767_225_599_999, 64000.5), Point(1_767_225_659_999, 64001.5)]


async def test_its_failures_are_typed(acme: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CRYPTOVIZ_PROVIDERS__ACME__BASE_URL", acme)
    monkeypatch.setenv("CRYPTOVIZ_PROVIDERS__ACME__API_KEY", "wrong")
    settings = load_settings()
    provider = build_provider("acme", settings, SystemClock(), lambda _: None)
    result = await provider.poll(60_000, settings.assets[:3], 10.0)
    await provider.aclose()
    assert result.failure is FallbackReason.AUTH


def test_the_settings_tables_name_real_defaults():
    collect = load_settings().collect
    assert (collect.outlier_bps, collect.replace_outlier_by, collect.usdt_is_usd, collect.disagree_bps) == (5000, "none", True, 100)
    own = load_settings().provider("coingecko")
    assert (own.timeout_s, own.max_body_bytes, own.rate_limit_wait_s, own.max_wait_s) == (10, 8 * 1024 * 1024, 60, 259_200)
    demo = load_settings("demo").provider("coingecko")
    assert (demo.rate_limit_wait_s, demo.max_wait_s) == (5, 30)
