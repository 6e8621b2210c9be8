"""The settings tree: sources, the predecessor's names, the demo, files."""

from __future__ import annotations

import pickle
import stat
from pathlib import Path

import pytest

from cryptoviz.errors import SettingsError
from cryptoviz.settings import dump_settings_file, load_settings, load_settings_file
from cryptoviz.settings.origin import setting_sources
from tests.support.settings import forget_settings


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_settings(monkeypatch, tmp_path)


def test_default_ports_equal_those_of_the_predecessor() -> None:
    settings = load_settings()
    assert (settings.kafka.bootstrap_servers, settings.s3.endpoint, settings.redis.url) == (
        "127.0.0.1:19092",
        "http://127.0.0.1:9002",
        "redis://127.0.0.1:6379/0",
    )
    assert (settings.dashboard.port, settings.lake.ui_port, settings.control.address) == (5006, 8082, "127.0.0.1:50051")
    assert settings.collect.tick_s == 60.0
    symbols = "BTC ETH BNB XRP ADA SOL DOT POL AVAX LTC LINK UNI ATOM XLM ALGO VET FIL"
    assert " ".join(asset.symbol for asset in settings.assets) == symbols


def test_predecessors_names_work_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINMARKETCAP_API_KEY", "k1")
    monkeypatch.setenv("MINIO_ROOT_USER", "ada")
    monkeypatch.setenv("MINIO_ROOT_PASSWORD", "password")
    monkeypatch.setenv("REDPANDA_BROKERS", "broker:9092")
    monkeypatch.setenv("CRYPTO_LIST", "bitcoin, MATIC")
    settings = load_settings()
    key = settings.provider("coinmarketcap").api_key
    assert key is not None
    assert key.get_secret_value() == "k1"
    assert (settings.s3.access_key, settings.s3.secret_key.get_secret_value()) == ("ada", "password")
    assert (settings.kafka.bootstrap_servers, settings.kafka.embedded) == ("broker:9092", False)
    assert [asset.asset_id for asset in settings.assets] == ["bitcoin", "polygon"]


def test_dotenv_is_read_with_lower_precedence_than_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("COINMARKETCAP_API_KEY=your-api-key-here\nMINIO_ROOT_USER=fromfile\nCRYPTOVIZ_S3__PORT=9102\n")
    assert load_settings().s3.access_key == "fromfile"
    assert load_settings().s3.endpoint == "http://127.0.0.1:9102"
    assert load_settings().provider("coinmarketcap").api_key is None
    monkeypatch.setenv("MINIO_ROOT_USER", "fromenv")
    assert load_settings().s3.access_key == "fromenv"
    sources = setting_sources(load_settings())
    assert sources["s3.access_key"] == "environment: MINIO_ROOT_USER"
    assert sources["s3.port"] == ".env: CRYPTOVIZ_S3__PORT"
    assert "kafka.port" not in sources


def test_a_section_as_json_is_the_source_of_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOVIZ_COLLECT", '{"tick_s": 5}')
    monkeypatch.setenv("CRYPTOVIZ_TRACING__HEADERS", '{"x-key": "abc"}')
    monkeypatch.setenv("CRYPTOVIZ_PROVIDERS", '{"kraken": {"timeout_s": 3}}')
    sources = setting_sources(load_settings())
    assert sources["collect.tick_s"] == "environment: CRYPTOVIZ_COLLECT"
    assert sources["tracing.headers.x-key"] == "environment: CRYPTOVIZ_TRACING__HEADERS"
    assert sources["providers.kraken.timeout_s"] == "environment: CRYPTOVIZ_PROVIDERS"
    assert not {"collect.consensus_wait_ms", "providers.kraken.max_wait_s", "tracing.endpoint"} & set(sources)


def test_the_demo_differs_in_tick_home_and_providers_and_uses_no_real_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINMARKETCAP_API_KEY", "real")
    live, demo = load_settings(), load_settings("demo")
    assert demo.collect.tick_s == 2.0
    assert (len(live.collect.providers), demo.collect.providers) == (6, ("coingecko", "coinmarketcap"))
    assert load_settings("demo", collect={"providers": ["kraken"]}).collect.providers == ("kraken",)
    assert demo.home == live.home.with_name("cryptoviz-demo")
    assert demo.provider("coingecko").base_url == "http://127.0.0.1:8999/coingecko"
    assert "real" not in {str(one.api_key and one.api_key.get_secret_value()) for one in demo.providers.values()}
    assert setting_sources(demo)["collect.tick_s"] == "demo"


def test_errors_contain_setting_and_value_but_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOVIZ_S3__PORT", "70000")
    with pytest.raises(SettingsError, match="CRYPTOVIZ_S3__PORT is '70000'"):
        load_settings()
    monkeypatch.delenv("CRYPTOVIZ_S3__PORT")
    monkeypatch.setenv("CRYPTOVIZ_S3", '{"secret_key": ["canary-77"]}')
    with pytest.raises(SettingsError) as failed:
        load_settings()
    assert "canary-77" not in str(failed.value)


def test_public_control_address_needs_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOVIZ_CONTROL__HOST", "0.0.0.0")
    with pytest.raises(SettingsError, match="CRYPTOVIZ_CONTROL__TLS_CERT"):
        load_settings()


def test_an_unknown_asset_lists_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTO_LIST", "bitcoin,nocoin")
    with pytest.raises(SettingsError, match=r"CRYPTOVIZ_CRYPTO_LIST: unknown asset 'nocoin'.*bitcoin.*CRYPTOVIZ_CRYPTO_LIST is set by CRYPTO_LIST"):
        load_settings()


def test_settings_survive_a_file_and_a_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINMARKETCAP_API_KEY", "k1")
    settings = load_settings()
    path = tmp_path / "run" / "settings.json"
    dump_settings_file(settings, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.setenv("CRYPTOVIZ_S3__PORT", "9999")  # what a file says is not changed by the environment
    assert load_settings_file(path).s3.port == 9002
    assert load_settings_file(path).provider("coinmarketcap").api_key == settings.provider("coinmarketcap").api_key
    assert pickle.loads(pickle.dumps(settings)) == settings
