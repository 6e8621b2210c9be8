"""The table of components."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

from control.reconcile.components import build_table, is_component_name
from cryptoviz.components import ComponentKind
from cryptoviz.errors import UnknownComponent
from cryptoviz.settings import Settings, load_settings
from cryptoviz.telemetry.log_files import log_path


@pytest.fixture
def live(tmp_path: Path) -> Settings:
    return load_settings("live", home=tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings("demo", home=tmp_path)


def test_order_of_the_live_pipeline(live: Settings) -> None:
    scrapers = [f"scraper/{name}" for name in ("coingecko", "coinmarketcap", "coinpaprika", "kraken", "coinbase", "binance")]
    expected = ["kafka", "object-store", "redis", "collector", *scrapers, "lake", "maintenance", "dashboard"]
    assert list(build_table(live)) == expected


def test_the_demo_has_a_market_that_scrapers_wait_for(settings: Settings) -> None:
    table = build_table(settings)
    assert list(table)[3] == "market-replay"
    assert table["scraper/coingecko"].depends_on == ("kafka", "market-replay")


def test_what_is_needed_comes_before_what_needs_it(settings: Settings) -> None:
    table = build_table(settings)
    order = list(table)
    for name, spec in table.items():
        for other in (*spec.depends_on, *spec.uses):
            assert order.index(other) < order.index(name) or (name, other) == ("scraper", "collector")


def test_spark_starts_before_the_engines_run_and_page_and_maintenance_after_it(settings: Settings) -> None:
    table = build_table(settings)
    assert [name for name, spec in table.items() if spec.prepares] == ["lake"]
    assert {name: spec.after for name, spec in table.items() if spec.after} == {"maintenance": ("lake",), "dashboard": ("lake",)}


def test_a_redis_that_is_away_stops_nothing(live: Settings) -> None:
    assert all("redis" not in spec.depends_on for spec in build_table(live).values())


def test_each_shard_has_a_scraper_that_waits_for_the_leading_one(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, collect={"providers": ["coinbase", "kraken"]}, providers={"coinbase": {"scrapers": 3}})
    table = build_table(settings)
    names = [name for name in table if name.startswith("scraper/")]
    assert names == ["scraper/coinbase", "scraper/coinbase/2", "scraper/coinbase/3", "scraper/kraken"]
    assert table["scraper/coinbase/3"].depends_on == ("kafka", "scraper/coinbase")
    assert table["scraper/coinbase/3"].args == (settings, "coinbase", 3)
    assert {table[name].place for name in names} == {table["scraper/kraken"].place}
    assert log_path(settings, "scraper/coinbase/3").name == "scraper-coinbase.3.log"


def test_disabled_providers_have_no_scraper(tmp_path: Path) -> None:
    settings = load_settings("live", home=tmp_path, providers={"coingecko": {"enabled": False}})
    assert "scraper/coingecko" not in build_table(settings)
    assert "scraper/coinmarketcap" in build_table(settings)


def test_an_engine_of_ones_own_is_external(tmp_path: Path) -> None:
    table = build_table(load_settings("live", home=tmp_path, kafka={"bootstrap_servers": "broker:9092"}))
    assert table["kafka"].kind is ComponentKind.EXTERNAL
    assert table["redis"].kind is ComponentKind.ENGINE


def test_needs_follows_dependencies(settings: Settings) -> None:
    assert build_table(settings).needs("scraper/coingecko") == ("kafka", "market-replay")
    assert build_table(settings).needs("lake") == ("kafka", "object-store")


def test_every_actor_can_be_imported_and_takes_its_arguments(settings: Settings) -> None:
    for spec in build_table(settings).values():
        module, _, name = spec.actor.partition(":")
        cls = getattr(importlib.import_module(module), name)
        inspect.signature(cls).bind(*spec.args)
        for verb in ("start", "stop", "probe"):
            assert inspect.iscoroutinefunction(getattr(cls, verb)), (spec.name, verb)


def test_unknown_names_are_answered_with_the_known_ones(live: Settings) -> None:
    with pytest.raises(UnknownComponent, match="no component 'zookeeper'; valid: kafka, object-store") as caught:
        build_table(live).require("zookeeper")
    assert caught.value.component == "zookeeper"


@pytest.mark.parametrize("name", ["kafka", "object-store", "scraper/coingecko", "scraper/coin_market-2", "scraper/coinbase/12", "x"])
def test_names_that_could_be(name: str) -> None:
    assert is_component_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../x",
        "scraper/../../etc/passwd",
        "kafka\n",
        "kafka\nlevel=error",
        "a/b/c",
        "/kafka",
        "kafka/",
        "Kafka",
        "kafka\x00",
        "ka fka",
        "ｋafka",
        "a" * 1_000_000,
    ],
)
def test_names_that_could_not_be(name: str) -> None:
    assert not is_component_name(name)
