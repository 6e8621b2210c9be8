"""Inconsistent settings, unknown names, values out of range, and accepted formats."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from cryptoviz.addresses import Host, Servers, host_port, url_with_brackets
from cryptoviz.assets import Asset
from cryptoviz.errors import SettingsError
from cryptoviz.providers.registry import BUILT_IN_PROVIDERS
from cryptoviz.settings import Settings, check_assets, load_settings, load_settings_file
from tests.support.settings import forget_settings


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_settings(monkeypatch, tmp_path)


def coin(**more: Any) -> dict[str, Any]:
    return {"asset_id": "dogecoin", "symbol": "DOGE", "name": "Dogecoin", "provider_ids": {"coingecko": "dogecoin"}} | more


def refused(**settings: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(**settings)
    return caught.value.message


@pytest.mark.parametrize(
    ("assets", "named"),
    [
        ([coin(provider_ids={"coingecko": "bitcoin"})], ["'bitcoin' and 'dogecoin'", "'bitcoin' at coingecko"]),
        ([coin(provider_ids={"binance": "BTCUSDT"})], ["'bitcoin' and 'dogecoin'", "'BTCUSDT' at binance"]),
        ([coin(), coin(asset_id="shib", symbol="SHIB")], ["'dogecoin' and 'shib'", "'dogecoin' at coingecko"]),
        # An extension of a known coin with an id of another coin.
        ([coin(asset_id="ethereum", symbol="ETH", provider_ids={"kraken": "XBTUSD"})], ["'bitcoin' and 'ethereum'", "'XBTUSD' at kraken"]),
        ([coin(symbol="btc")], ["'bitcoin' and 'dogecoin'", "symbol 'btc'"]),
        ([coin(), coin(asset_id="other", provider_ids={"coingecko": "other"})], ["'dogecoin' and 'other'", "symbol 'DOGE'"]),
        ([coin(asset_id="eth", symbol="ETHX")], ["'eth' is the symbol of 'ethereum'"]),
        ([coin(), coin()], ["two entries of asset_id 'dogecoin'"]),
        ([coin(provider_ids={"coingecko": ""})], ["'dogecoin' at coingecko is ''"]),
        ([coin(provider_ids={"coingecko": "doge coin"})], ["'doge coin'"]),
        ([coin(asset_id="")], ["asset_id", "''"]),
        ([coin(symbol=" ")], ["symbol", "' '"]),
        ([coin(name="")], ["name", "''"]),
        ([coin(asset_id="a,b")], ["'a,b'", "comma"]),
        ([coin(provider_ids={"coingeko": "dogecoin"})], ["'coingeko'", "coingecko, coinmarketcap, binance, kraken, coinpaprika, coinbase"]),
    ],
)
def test_conflicting_assets_are_refused_by_name(assets: list[dict[str, Any]], named: list[str]) -> None:
    message = refused(extra_assets=assets)
    assert "CRYPTOVIZ_EXTRA_ASSETS" in message
    assert [text for text in named if text not in message] == []


def test_an_extension_keeps_its_own_ids() -> None:
    settings = load_settings(extra_assets=[coin(asset_id="bitcoin", symbol="BTC", name="Bitcoin", provider_ids={"coingecko": "bitcoin"})])
    assert len(settings.assets) == 17


@pytest.mark.parametrize(
    ("collect", "named"),
    [
        ({"providers": ["coingecko", "coingecko"]}, ["CRYPTOVIZ_COLLECT__PROVIDERS", "'coingecko' more than once"]),
        ({"providers": ["coingecko", "coinbsae"]}, ["CRYPTOVIZ_COLLECT__PROVIDERS", "'coinbsae'", *BUILT_IN_PROVIDERS]),
        ({"providers": ["CoinGecko"]}, ["'CoinGecko'"]),
        ({"providers": [""]}, ["''"]),
        ({"history_providers": ["kraken", "kraken"]}, ["CRYPTOVIZ_COLLECT__HISTORY_PROVIDERS", "'kraken' more than once"]),
        ({"history_providers": ["nobody"]}, ["CRYPTOVIZ_COLLECT__HISTORY_PROVIDERS", "'nobody'"]),
    ],
)
def test_unknown_and_repeated_providers_are_refused(collect: dict[str, Any], named: list[str]) -> None:
    message = refused(collect=collect)
    assert [text for text in named if text not in message] == []


def test_a_section_of_an_unknown_provider_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOVIZ_PROVIDERS__COINGEKO__API_KEY", "canary-55")
    message = refused()
    assert "'coingeko'" in message
    assert "canary-55" not in message


def test_topics_need_distinct_names() -> None:
    message = refused(kafka={"raw_topic": "one", "stream_topic": "one"})
    assert "CRYPTOVIZ_KAFKA__RAW_TOPIC and CRYPTOVIZ_KAFKA__STREAM_TOPIC" in message


def test_the_first_breaker_wait_must_not_exceed_the_maximum() -> None:
    assert "open_s is 400 and max_open_s is 300" in refused(providers={"kraken": {"breaker": {"open_s": 400}}})


def numbers(model: type[BaseModel], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], type]]:
    """Every numeric setting with its path."""
    found: list[tuple[tuple[str, ...], type]] = []
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        section = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if section is not None:
            # A table by provider contains sections by name.
            below = ("kraken",) if field.annotation is not section else ()
            found += numbers(section, (*path, name, *below))
        elif float in kinds:
            found.append(((*path, name), float))
        elif int in kinds:
            found.append(((*path, name), int))
    return found


NUMBERS = [(path, kind) for path, kind in numbers(Settings) if path != ("market", "seed")]


def test_all_numbers_of_the_settings_are_found() -> None:
    paths = {".".join(path) for path, _ in NUMBERS}
    assert {"collect.tick_s", "providers.kraken.breaker.open_s", "market.limits.kraken.per_minute", "lake.lease_s", "kafka.port"} <= paths


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "-1", "1e400", "-1e400", "9" * 400, "x", ""])
@pytest.mark.parametrize("path", [path for path, _ in NUMBERS], ids=".".join)
def test_no_number_is_out_of_range(path: tuple[str, ...], value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"CRYPTOVIZ_{'__'.join(path).upper()}"
    monkeypatch.setenv(name, value)
    assert name in refused()


@pytest.mark.parametrize("value", [0, 0.4, -5, 86_401])
def test_a_tick_is_between_half_a_second_and_a_day(value: float) -> None:
    assert "CRYPTOVIZ_COLLECT__TICK_S" in refused(collect={"tick_s": value})


@pytest.mark.parametrize("speed", [0, -1, -0.5])
def test_the_market_speed_must_be_positive(speed: float) -> None:
    assert "CRYPTOVIZ_MARKET__SPEED" in refused(market={"speed": speed})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CRYPTOVIZ_COLLECT__PROVIDERS", "coingecko,binance", ("coingecko", "binance")),
        ("CRYPTOVIZ_COLLECT__PROVIDERS", " coingecko , binance ,", ("coingecko", "binance")),
        ("CRYPTOVIZ_COLLECT__PROVIDERS", "kraken", ("kraken",)),
        ("CRYPTOVIZ_COLLECT__PROVIDERS", '["coingecko", "binance"]', ("coingecko", "binance")),
    ],
)
@pytest.mark.parametrize("where", ["environment", ".env"])
def test_a_list_is_json_or_comma_separated(name: str, value: str, expected: tuple[str, ...], where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if where == "environment":
        monkeypatch.setenv(name, value)
    else:
        Path(".env").write_text(f"{name}={value}\n")
    assert load_settings().collect.providers == expected
    assert load_settings("demo").collect.providers == expected


def test_every_list_of_strings_accepts_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOVIZ_COLLECT__HISTORY_PROVIDERS", "kraken,binance")
    monkeypatch.setenv("CRYPTOVIZ_DASHBOARD__ALLOW_ORIGINS", "a.example:5006,b.example:5006")
    monkeypatch.setenv("CRYPTO_LIST", "BTC,ETH")
    settings = load_settings()
    assert settings.collect.history_providers == ("kraken", "binance")
    assert settings.dashboard.allow_origins == ("a.example:5006", "b.example:5006")
    assert settings.crypto_list == ("BTC", "ETH")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CRYPTOVIZ_COLLECT__PROVIDERS", '["coingecko", binance]'),
        ("CRYPTOVIZ_COLLECT__PROVIDERS", '{"a": 1}'),
        ("CRYPTOVIZ_COLLECT", "coingecko"),
        ("CRYPTOVIZ_EXTRA_ASSETS", "dogecoin"),
        ("CRYPTOVIZ_EXTRA_ASSETS", "[{]"),
        ("CRYPTOVIZ_PROVIDERS", "canary-77"),
        ("CRYPTOVIZ_PROVIDERS__KRAKEN", "canary-77"),
        ("CRYPTOVIZ_PROVIDERS__KRAKEN__QUOTA", "canary-77"),
        ("CRYPTOVIZ_MARKET__LIMITS", "canary-77"),
        ("CRYPTOVIZ_CRYPTO_LIST", "[BTC]"),
    ],
)
def test_an_unreadable_value_is_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    message = refused()
    assert name in message
    assert "canary" not in message or name == "CRYPTOVIZ_PROVIDERS__KRAKEN"


def test_a_dotenv_with_a_byte_order_mark_keeps_its_first_line() -> None:
    Path(".env").write_bytes(b"\xef\xbb\xbfCRYPTOVIZ_COLLECT__TICK_S=30\nCOINGECKO_API_KEY=abc\n")
    assert load_settings().collect.tick_s == 30.0
    Path(".env").write_bytes(b"\xef\xbb\xbfMINIO_ROOT_USER=ada\n")
    assert load_settings().s3.access_key == "ada"


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("# café\nX=1\n".encode("latin-1"), "line 1 holds the byte 0xe9"),
        (b"X=1\nY=\xff\n", "line 2 holds the byte 0xff"),
        ("X=1".encode("utf-16"), "byte 0xff"),
    ],
)
def test_a_dotenv_that_is_not_utf8_is_refused(content: bytes, place: str) -> None:
    Path(".env").write_bytes(content)
    message = refused()
    assert place in message
    assert ".env is not UTF-8" in message


@pytest.mark.parametrize(
    ("written", "host"), [("::1", "::1"), ("[::1]", "::1"), ("0:0:0:0:0:0:0:1", "::1"), ("127.0.0.1", "127.0.0.1"), ("localhost", "localhost")]
)
def test_hosts_with_and_without_brackets(written: str, host: str) -> None:
    settings = load_settings(control={"host": written}, dashboard={"host": written}, ray={"node_ip": written})
    assert (settings.control.host, settings.dashboard.host, settings.ray.node_ip) == (host, host, host)
    assert settings.control.address == (f"[{host}]:50051" if ":" in host else f"{host}:50051")
    assert settings.dashboard.address == host_port(host, 5006)


@pytest.mark.parametrize("written", ["::1:", "[::1", "[::1]:5006", "a b", "user@host", ":::", "[host]"])
def test_invalid_hosts(written: str) -> None:
    assert "CRYPTOVIZ_DASHBOARD__HOST" in refused(dashboard={"host": written})


@pytest.mark.parametrize(
    ("written", "servers"),
    [
        ("[::1]:9092", "[::1]:9092"),
        ("::1:9092", "[::1]:9092"),
        ("2001:db8::2:9092,broker:9092", "[2001:db8::2]:9092,broker:9092"),
        ("10.0.0.1:9092", "10.0.0.1:9092"),
        ("fe80::a%eth0:9092", "fe80::a%eth0:9092"),
    ],
)
def test_brokers_with_and_without_brackets(written: str, servers: str) -> None:
    if "%" not in written:
        assert load_settings(kafka={"bootstrap_servers": written}).kafka.bootstrap_servers == servers


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("http://[::1]:9000", "http://[::1]:9000"),
        ("http://::1:9000", "http://[::1]:9000"),
        ("https://store.example:9000", "https://store.example:9000"),
    ],
)
def test_urls_with_and_without_brackets(written: str, url: str) -> None:
    settings = load_settings(
        s3={"endpoint": written}, redis={"url": written.replace("http", "redis")}, downloads={"maven_url": written},
        providers={"kraken": {"base_url": written}},
    )  # fmt: skip
    assert load_settings(providers={"kraken": {"base_url": f"{written}/path"}}).provider("kraken").base_url == f"{url}/path"
    assert (settings.s3.endpoint, settings.downloads.maven_url, settings.provider("kraken").base_url) == (url, url, url)
    assert settings.redis.url == url.replace("http", "redis")
    secret = load_settings(redis={"url": "redis://user:p:w@::1:6379/0"}).redis.url
    assert secret == "redis://user:p:w@[::1]:6379/0"


@given(st.text(max_size=40))
def test_any_text_is_a_valid_address_or_refused(text: str) -> None:
    for read in (TypeAdapter(Host).validate_python, TypeAdapter(Servers).validate_python, url_with_brackets):
        with contextlib.suppress(ValueError):
            assert isinstance(read(text), str)


def test_a_file_from_a_parent_is_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"collect": {"providers": ["kraken", "kraken"]}}))
    with pytest.raises(SettingsError, match="more than once"):
        load_settings_file(path)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'A=1\nCOINMARKETCAP_API_KEY="abcdef\nCRYPTO_LIST=bitcoin\n', 2),
        (b"CRYPTOVIZ_COLLECT__TICK_S 5\n", 1),
        (b"# comment\n\nCRYPTOVIZ_COLLECT__TICK_S: 5\n", 3),
        ("CRYPTO_LIST=bitcoin\n".encode("utf-16-le"), 1),
    ],
)
def test_an_invalid_line_of_dotenv_is_refused_and_not_shown(content: bytes, line: int) -> None:
    Path(".env").write_bytes(content)
    message = refused()
    assert f"line {line} cannot be read: valid is NAME=value" in message
    assert "abcdef" not in message


def test_every_valid_form_of_a_dotenv_line_is_read() -> None:
    Path(".env").write_bytes(b"# c\r\n\r\nexport CRYPTO_LIST = 'bitcoin' # c\r\nOTHER\r\nX=\"a\r\nb\"\r\nCRYPTOVIZ_COLLECT__TICK_S=5\r\n")
    settings = load_settings()
    assert (settings.crypto_list, settings.collect.tick_s) == (("bitcoin",), 5.0)


def test_asset_ids_that_differ_only_in_case_are_refused() -> None:
    message = refused(extra_assets=[coin(asset_id="Bitcoin", symbol="BTC2")])
    assert "'bitcoin'" in message
    assert "'Bitcoin'" in message


class CountedTable(list[Asset]):
    """Counts how often it is read from its start."""

    reads = 0

    def __iter__(self) -> Iterator[Asset]:
        type(self).reads += 1
        return super().__iter__()


def test_the_table_is_not_read_once_for_each_name() -> None:
    """4 000 names took 1.9 s of processor time in each process, and twice as many four times as long."""
    assets = [Asset(f"coin-{n}", f"C{n}", f"Coin {n}", {"coingecko": f"coin-{n}"}) for n in range(50)]
    check_assets._check_list([asset.asset_id for asset in assets], assets, (), CountedTable(assets))
    assert CountedTable.reads == 1
