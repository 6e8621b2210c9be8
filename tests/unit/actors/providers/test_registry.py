from __future__ import annotations

import sys
from pathlib import Path

import pytest

from actors.providers.coingecko import CoinGeckoProvider
from actors.providers.coinmarketcap import CoinMarketCapProvider
from actors.providers.registry import build_provider, provider_class
from cryptoviz.clock import SystemClock
from cryptoviz.errors import SettingsError
from cryptoviz.settings import ProviderSettings, load_settings


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # no .env of the developer's
    for name in ("COINMARKETCAP_API_KEY", "COINGECKO_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_built_ins():
    assert provider_class("coingecko") is CoinGeckoProvider
    assert provider_class("coinmarketcap") is CoinMarketCapProvider


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(SettingsError, match=r"'nosuch'; known providers are .*coingecko, coinmarketcap"):
        provider_class("nosuch")


@pytest.fixture
def entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that brings providers, as pip would lay it out."""
    folder = tmp_path / "site"
    info = folder / "someones_providers-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: someones-providers\nVersion: 1.0\n")
    names = "mine = someones_providers:Mine\ncoingecko = someones_providers:Mine\nodd = someones_providers:NOT_A_PROVIDER"
    (info / "entry_points.txt").write_text(f"[cryptoviz.providers]\n{names}\n")
    (folder / "someones_providers.py").write_text(
        "from actors.providers.base import BaseProvider\nNOT_A_PROVIDER = 5\n"
        "class Mine(BaseProvider):\n    name = 'mine'\n    default_base_url = 'http://127.0.0.1:1'\n"
        "    async def get_crypto_data(self, assets):\n        return []\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    yield
    sys.modules.pop("someones_providers", None)


@pytest.mark.usefixtures("entry_points")
def test_entry_points_bring_providers_and_never_replace_a_built_in():
    assert provider_class("mine").name == "mine"
    assert provider_class("coingecko") is CoinGeckoProvider
    with pytest.raises(SettingsError, match="no BaseProvider"):
        provider_class("odd")


@pytest.mark.parametrize(("plan", "key"), [("keyed", None), ("gold", "k")])
async def test_a_plan_that_cannot_work_is_told_before_the_first_poll(plan: str, key: str | None):
    given = {"coinmarketcap": {"plan": plan, "api_key": key}}
    with pytest.raises(SettingsError, match="CRYPTOVIZ_PROVIDERS__COINMARKETCAP__PLAN"):
        load_settings(providers=given)
    settings = load_settings().model_copy(update={"providers": {name: ProviderSettings(**own) for name, own in given.items()}})
    with pytest.raises(SettingsError, match="CRYPTOVIZ_PROVIDERS__COINMARKETCAP__PLAN"):
        build_provider("coinmarketcap", settings, SystemClock(), lambda _: None)


async def test_keys_travel_in_headers_only():
    settings = load_settings(providers={"coinmarketcap": {"api_key": "k1"}, "coingecko": {"api_key": "k2", "plan": "pro"}})
    built = [build_provider(name, settings, SystemClock(), lambda _: None) for name in ("coinmarketcap", "coingecko")]
    assert [provider.auth_headers() for provider in built] == [{"X-CMC_PRO_API_KEY": "k1"}, {"x-cg-pro-api-key": "k2"}]
    for provider in built:
        await provider.aclose()


async def test_the_demo_asks_the_market_without_keys(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COINMARKETCAP_API_KEY", "k1")
    monkeypatch.setenv("CRYPTOVIZ_PROVIDERS__COINGECKO__PLAN", "pro")
    monkeypatch.setenv("CRYPTOVIZ_PROVIDERS__COINGECKO__API_KEY", "k2")
    settings = load_settings("demo")
    for name in ("coinmarketcap", "coingecko"):
        provider = build_provider(name, settings, SystemClock(), lambda _: None)
        assert provider.auth_headers() == {}
        assert provider.base_url == f"http://127.0.0.1:{settings.market.port}/{name}"
        assert provider.settings.rate_limit_wait_s == 5.0
        await provider.aclose()
