from __future__ import annotations

import base64
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actors.fetching.build import build_provider
from cryptoviz.clock import SystemClock
from cryptoviz.doctor import Level, examine
from cryptoviz.errors import SettingsError
from cryptoviz.providers.coingecko import CoinGeckoProvider
from cryptoviz.providers.coinmarketcap import CoinMarketCapProvider
from cryptoviz.providers.registry import forget_loaded, provider_class
from cryptoviz.records import RawExchange
from cryptoviz.settings import ProviderSettings, load_settings
from tests.support.echo import ECHOED, Echo, echoing


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
def entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package that brings providers, as pip would lay it out."""
    folder = tmp_path / "site"
    info = folder / "someones_providers-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: someones-providers\nVersion: 1.0\n")
    names = "mine = someones_providers:Mine\ncoingecko = someones_providers:Mine\nother = someones_providers:Mine\n"
    names += "odd = someones_providers:NOT_A_PROVIDER\nabsent = someones_absent:Mine\nleaves = someones_exit:Mine\n"
    names += "asks = someones_circle:Asks\nreads = someones_reader:Reads\n"
    names += "half = someones_providers:Half\ntwo = someones_providers:Mine"
    (info / "entry_points.txt").write_text(f"[cryptoviz.providers]\n{names}\n")
    (folder / "someones_providers.py").write_text(
        "from cryptoviz.providers import BaseProvider, ProviderSpec\nNOT_A_PROVIDER = 5\n"
        "class Mine(BaseProvider):\n    spec = ProviderSpec(name='mine', base_url='http://127.0.0.1:1')\n"
        "    async def get_crypto_data(self, assets):\n        return []\n"
        "class Half(BaseProvider):\n    spec = ProviderSpec(name='half', base_url='http://127.0.0.1:1')\n"
    )
    other = folder / "someones_others-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: someones-others\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[cryptoviz.providers]\ntwo = others:Two")
    uses = "from cryptoviz.providers import BaseProvider, ProviderSpec\n"
    (folder / "someones_circle.py").write_text("from cryptoviz.providers.registry import spec_of\nSPEC = spec_of('asks')\n")
    (folder / "someones_reader.py").write_text(
        f"{uses}from cryptoviz.settings import load_settings\nTICK_S = load_settings().collect.tick_s\n"
        "class Reads(BaseProvider):\n    spec = ProviderSpec(name='reads', base_url='http://127.0.0.1:1')\n"
        "    async def get_crypto_data(self, assets):\n        return []\n"
    )
    (folder / "someones_exit.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(str(folder))
    yield
    for module in ("someones_providers", "someones_circle", "someones_reader"):
        sys.modules.pop(module, None)
    forget_loaded()


@pytest.mark.usefixtures("entry_points")
def test_entry_points_bring_providers_and_never_replace_a_built_in():
    assert provider_class("mine").spec.name == "mine"
    assert provider_class("coingecko") is CoinGeckoProvider
    with pytest.raises(SettingsError, match="no BaseProvider"):
        provider_class("odd")
    with pytest.raises(SettingsError, match=r"'leaves' .* does not load \(SystemExit: 3\): mend its package, or leave 'leaves' out of"):
        provider_class("leaves")
    with pytest.raises(SettingsError, match=r"'half' .* is Half, which does not implement get_crypto_data"):
        provider_class("half")
    with pytest.raises(SettingsError, match=r"'two' .* is brought twice, as others:Two of someones-others and someones_providers:Mine of"):
        provider_class("two")
    with pytest.raises(SettingsError, match=r"'absent' of cryptoviz\.providers does not load \(ModuleNotFoundError: "):
        provider_class("absent")
    with pytest.raises(SettingsError, match=r"is Mine, whose spec is 'mine': valid is a ProviderSpec with name='other'"):
        provider_class("other")


@pytest.mark.usefixtures("entry_points")
def test_a_module_that_uses_its_own_provider_while_it_is_imported_is_named_once() -> None:
    with pytest.raises(SettingsError) as refused:
        provider_class("asks")
    assert refused.value.message == (
        "the entry point 'asks' of cryptoviz.providers does not load (SettingsError: its module uses the provider 'asks' while it is imported: "
        "valid is to use it in a function): mend its package, or leave 'asks' out of CRYPTOVIZ_COLLECT__PROVIDERS"
    )


@pytest.mark.usefixtures("entry_points")
def test_a_module_may_read_the_settings_while_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOVIZ_COLLECT__PROVIDERS", "coingecko,reads")
    monkeypatch.setenv("CRYPTOVIZ_COLLECT__TICK_S", "7")
    assert [spec.name for spec in load_settings().brought_specs] == ["reads"]
    assert provider_class("reads").spec.name == "reads"
    assert sys.modules["someones_reader"].TICK_S == 7.0


@pytest.mark.usefixtures("entry_points")
@pytest.mark.parametrize("first", [lambda: provider_class("reads"), lambda: importlib.import_module("someones_reader")], ids=["class", "module"])
def test_a_provider_whose_module_was_first_seen_during_its_import_is_known_afterwards(
    first: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTOVIZ_COLLECT__PROVIDERS", "coingecko,reads")
    first()
    assert [spec.name for spec in load_settings().brought_specs] == ["reads"]


@pytest.mark.usefixtures("entry_points")
def test_a_module_that_reads_invalid_settings_does_not_hide_or_double_their_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOVIZ_COLLECT__PROVIDERS", "coingecko,reads")
    monkeypatch.setenv("CRYPTOVIZ_COLLECT__CONSENSUS_WAIT_MS", "80000000")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert refused.value.setting == "CRYPTOVIZ_COLLECT__CONSENSUS_WAIT_MS"
    assert refused.value.message.count("CRYPTOVIZ_COLLECT__CONSENSUS_WAIT_MS is") == 1


@pytest.mark.parametrize(("plan", "key"), [("keyed", None), ("gold", "k")])
async def test_a_plan_that_cannot_work_is_reported_before_the_first_poll(plan: str, key: str | None):
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
        assert isinstance(provider.settings, ProviderSettings)
        assert provider.settings.rate_limit_wait_s == 5.0
        await provider.aclose()


@pytest.mark.parametrize("provider", ["coingecko", "coinpaprika", "coinmarketcap"])
async def test_no_secret_that_an_answer_echoes_is_recorded(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key, the password inside the address, and the proxy's."""
    secrets = {"key": "canary-key-0c1d", "base": "canary-userinfo-91", "proxy": "canary-proxy-42"}
    prefix = f"CRYPTOVIZ_PROVIDERS__{provider.upper()}"
    exchanges: list[RawExchange] = []
    with echoing() as echo:
        monkeypatch.setenv("CRYPTOVIZ_NETWORK__PROXY_URL", f"http://user:{secrets['proxy']}@127.0.0.1:{echo.port}")
        monkeypatch.setenv(f"{prefix}__BASE_URL", f"http://user:{secrets['base']}@provider.example")
        monkeypatch.setenv(f"{prefix}__API_KEY", secrets["key"])
        settings = load_settings()
        asked = build_provider(provider, settings, SystemClock(), exchanges.append)
        for tick in range(2 * len(Echo.KINDS)):
            if set(echo.answers["provider.example"]) < set(Echo.KINDS):
                await asked.poll(tick * 1000, settings.assets[:2], 5.0)
        await asked.aclose()
        assert set(echo.answers["provider.example"]) == set(Echo.KINDS)
    shown = repr(exchanges)
    assert ECHOED in shown
    assert "[removed]" in shown
    for name, secret in secrets.items():
        assert secret not in shown, name
        assert base64.b64encode(f"user:{secret}".encode()).decode() not in shown, name


async def test_a_proxys_refusal_that_echoes_its_password_is_recorded_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason of its status becomes the text of the library's error."""
    password, exchanges = "canary-proxy-42", list[RawExchange]()
    with echoing() as echo:
        monkeypatch.setenv("CRYPTOVIZ_NETWORK__PROXY_URL", f"http://user:{password}@127.0.0.1:{echo.port}")
        settings = load_settings()
        asked = build_provider("coingecko", settings, SystemClock(), exchanges.append)
        await asked.poll(1000, settings.assets[:2], 5.0)
        await asked.aclose()
    shown = repr(exchanges)
    assert ECHOED in shown
    assert password not in shown
    assert base64.b64encode(f"user:{password}".encode()).decode() not in shown


@pytest.mark.usefixtures("entry_points")
@pytest.mark.parametrize("name", ["absent", "leaves"])
def test_a_package_that_does_not_load_keeps_no_command_from_its_work_and_doctor_names_it(name: str):
    settings = load_settings(collect={"providers": ["coingecko", name], "history_providers": ["binance", name]})
    assert [asset.asset_id for asset in settings.assets][:2] == ["bitcoin", "ethereum"]
    found = [finding for finding in examine(settings) if finding.name == "Settings"]
    assert [finding.level for finding in found][-1] is Level.FAIL
    assert f"the entry point '{name}' of cryptoviz.providers does not load" in found[-1].detail
    # Disabled, it need not load.
    off = load_settings(collect={"providers": ["coingecko", name]}, providers={name: {"enabled": False}})
    assert Level.FAIL not in {finding.level for finding in examine(off) if finding.name == "Settings"}
