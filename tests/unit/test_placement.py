"""The choice of nodes, without Ray: tests/integration/test_placement.py uses a real cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from control.reachable_engines import require_reachable_engines
from control.reconcile.components import ComponentSpec, build_table
from control.reconcile.placer import Placer
from cryptoviz.components import ComponentKind
from cryptoviz.errors import EngineUnavailable, PreflightError, SettingsError
from cryptoviz.placement import HEAD, NODE_ID_LABEL, ClusterNode, Place, candidates, choose, other_machines
from cryptoviz.settings import Settings, load_settings, loopback_engines, uses_own_loopback
from spark_jobs.streaming.executor_places import bundle_selector
from tests.support.clock import FakeClock
from tests.support.settings import forget_settings

MAIN = ClusterNode("main", "192.0.2.1", 2)
ONE = ClusterNode("one", "192.0.2.2", 2, {"zone": "b"})
TWO = ClusterNode("two", "192.0.2.3", 4, {"zone": "b", "ray.io/node-id": "two"})
NODES = [TWO, MAIN, ONE]
SPREAD, PACK, ZONE = Place("spread"), Place("pack"), Place("label", "zone", "b")
OPEN: dict[str, Any] = {"engines": {"bind": "192.0.2.1"}}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_settings(monkeypatch, tmp_path)


@pytest.mark.parametrize("text", ["spread", "pack", "head", "label:zone=b", "label:example.org/disk=ssd-1"])
def test_a_place_is_read_and_written(text: str) -> None:
    assert str(Place.parse(text)) == text


@pytest.mark.parametrize("text", ["", "Spread", "label:zone", "label:zone=", "label:=b", "label:zone=a,b", "zone=b", "label:zone=b\n"])
def test_another_text_is_refused_with_the_setting_and_what_is_valid(text: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="valid are spread, pack, head, and label:KEY=VALUE") as refused:
        load_settings(home=tmp_path, placement={"scrapers": text})
    assert refused.value.setting == "CRYPTOVIZ_PLACEMENT__SCRAPERS"


def test_the_head_is_the_last_choice() -> None:
    assert candidates(SPREAD, NODES, "main") == [ONE, TWO, MAIN]
    assert candidates(HEAD, NODES, "main") == [MAIN]
    assert candidates(ZONE, NODES, "main") == [ONE, TWO]
    assert candidates(Place("label", "zone", "c"), NODES, "main") == []


def test_what_uses_loopback_stays_on_its_machine() -> None:
    beside = ClusterNode("beside", "127.0.0.3")
    assert candidates(SPREAD, [*NODES, beside], "main", local=True) == [beside, MAIN]
    assert candidates(ZONE, NODES, "main", local=True) == []
    assert other_machines([*NODES, beside, ClusterNode("again", MAIN.address)], MAIN) == [TWO, ONE]


@pytest.mark.parametrize(
    ("place", "taken", "avoid", "expected"),
    [
        (SPREAD, {}, (), ONE),
        (SPREAD, {"one": 1}, (), TWO),
        (SPREAD, {"one": 1, "two": 1}, (), MAIN),
        (SPREAD, {"one": 2, "two": 1, "main": 1}, (), TWO),
        (SPREAD, {}, ("one",), TWO),
        (SPREAD, {}, ("one", "two", "main"), ONE),
        (PACK, {}, (), ONE),
        (PACK, {"two": 1}, (), TWO),
        (PACK, {"two": 3}, ("two",), ONE),
    ],
)
def test_choice(place: Place, taken: dict[str, int], avoid: tuple[str, ...], expected: ClusterNode) -> None:
    assert choose(place, candidates(place, NODES, "main"), taken, avoid) == expected


class Cluster:
    """A placer with nodes that the test changes."""

    def __init__(self) -> None:
        self.nodes = list(NODES)
        self.clock = FakeClock()
        self.placer = Placer(lambda: self.nodes, lambda: "main", self.clock)

    async def place(self, name: str, place: Place = SPREAD, *, local: bool = False) -> str:
        spec = ComponentSpec(
            name, ComponentKind.SCRAPER, "no.such:Class", (), place=place, place_setting="CRYPTOVIZ_PLACEMENT__SCRAPERS", local=local
        )
        return await self.placer.choose(spec)


async def test_scrapers_are_spread_and_keep_away_from_a_silent_node_for_a_while() -> None:
    cluster = Cluster()
    assert [await cluster.place(name) for name in ("a", "b", "c", "d")] == ["one", "two", "main", "one"]
    cluster.placer.silent("a")
    assert await cluster.place("a") == "two"
    assert await cluster.place("d") == "main"
    await cluster.clock.sleep(600)
    assert await cluster.place("d") == "one"


async def test_a_node_that_has_left_is_not_chosen_and_its_address_stays_known() -> None:
    cluster = Cluster()
    assert await cluster.place("a") == "one"
    cluster.nodes.remove(ONE)
    assert await cluster.place("a") == "two"
    assert cluster.placer.address("one") == ONE.address
    assert cluster.placer.of("a") == "two"


async def test_what_an_earlier_controller_has_placed_counts() -> None:
    cluster = Cluster()
    spec = ComponentSpec("a", ComponentKind.SCRAPER, "no.such:Class", (), place=SPREAD)
    assert await cluster.placer.found(spec, "one") == ONE.address
    assert await cluster.place("b") == "two"


async def test_a_component_without_a_place_is_on_the_head() -> None:
    cluster = Cluster()
    assert await cluster.place("lake", HEAD) == "main"
    assert cluster.placer.of("lake") == ""


async def test_a_missing_label_is_an_error_that_may_pass() -> None:
    cluster = Cluster()
    with pytest.raises(EngineUnavailable, match=r"no node of the cluster has the label zone=c \(CRYPTOVIZ_PLACEMENT__SCRAPERS\); .*: zone=b$"):
        await cluster.place("a", Place("label", "zone", "c"))
    with pytest.raises(EngineUnavailable, match="no node of this machine, whose loopback it uses, has the label zone=b"):
        await cluster.place("a", ZONE, local=True)


def test_scrapers_of_loopback_engines_or_of_the_replay_market_stay_on_the_machine(tmp_path: Path) -> None:
    specs = build_table(load_settings(home=tmp_path))
    assert all(spec.local for name, spec in specs.items() if name.startswith("scraper/"))
    specs = build_table(load_settings(home=tmp_path, **OPEN))
    assert {name for name, spec in specs.items() if spec.place == SPREAD} == {name for name in specs if name.startswith("scraper/")}
    assert not any(spec.local for spec in specs.values())
    demo = build_table(load_settings("demo", home=tmp_path, **OPEN))
    assert demo["scraper/coingecko"].local


def test_a_proxy_on_loopback_is_used_from_this_machine_only(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, network={"proxy_url": "http://127.0.0.1:3128"}, **OPEN)
    assert uses_own_loopback(settings, "kraken")
    assert not uses_own_loopback(load_settings(home=tmp_path, network={"proxy_url": "http://192.0.2.9:3128"}, **OPEN), "kraken")


def external(tmp_path: Path, **changes: Any) -> Settings:
    sections: dict[str, Any] = {
        "kafka": {"bootstrap_servers": "192.0.2.7:9092"},
        "s3": {"endpoint": "http://192.0.2.7:9000"},
        "redis": {"url": "redis://192.0.2.7:6379"},
    }
    return load_settings(home=tmp_path, **(sections | changes))


def test_workers_without_a_way_to_the_engines_are_refused_with_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(PreflightError) as refused:
        require_reachable_engines(load_settings(home=tmp_path), NODES, "main")
    assert refused.value.message == (
        "the cluster has nodes on other machines (192.0.2.2, 192.0.2.3), and CRYPTOVIZ_PLACEMENT__EXECUTORS is spread and "
        "CRYPTOVIZ_PLACEMENT__SCRAPERS is spread, which would use them, but only this machine reaches 127.0.0.1:19092 "
        "(CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS) and 127.0.0.1:9002 (CRYPTOVIZ_S3__ENDPOINT) and 127.0.0.1:6379 (CRYPTOVIZ_REDIS__URL): set "
        "CRYPTOVIZ_ENGINES__BIND to an address of this machine that they reach, or the addresses to servers of your own, or "
        "CRYPTOVIZ_PLACEMENT__EXECUTORS and CRYPTOVIZ_PLACEMENT__SCRAPERS to head"
    )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"placement": {"executors": "head"}}, ["CRYPTOVIZ_PLACEMENT__SCRAPERS is spread,"]),
        ({"placement": {"scrapers": "head", "executors": "label:zone=b"}}, ["CRYPTOVIZ_PLACEMENT__EXECUTORS is label:zone=b,"]),
    ],
)
def test_only_the_settings_that_use_workers_are_named(given: dict[str, Any], named: list[str], tmp_path: Path) -> None:
    with pytest.raises(PreflightError) as refused:
        require_reachable_engines(load_settings(home=tmp_path, **given), NODES, "main")
    assert all(one in refused.value.message for one in named)
    assert refused.value.message.count("CRYPTOVIZ_PLACEMENT__") == 2


def test_one_engine_on_loopback_is_refused_too(tmp_path: Path) -> None:
    settings = external(tmp_path, redis={"url": "redis://:secret-of-redis@localhost:6379"})
    assert loopback_engines(settings) == {"CRYPTOVIZ_REDIS__URL": "localhost:6379"}
    with pytest.raises(PreflightError) as refused:
        require_reachable_engines(settings, NODES, "main")
    assert "secret-of-redis" not in refused.value.message


def test_nothing_is_refused_if_all_reach_the_engines_or_nothing_uses_workers(tmp_path: Path) -> None:
    loopback = load_settings(home=tmp_path)
    for settings, nodes in (
        (external(tmp_path), NODES),
        (load_settings(home=tmp_path, **OPEN), NODES),
        (loopback, [MAIN]),
        (loopback, [MAIN, ClusterNode("beside", "127.0.0.3")]),
        (load_settings(home=tmp_path, placement={"scrapers": "head", "executors": "head"}), NODES),
        (load_settings(home=tmp_path, placement={"scrapers": "label:zone=c", "executors": "label:zone=c"}), NODES),
        (load_settings("demo", home=tmp_path, placement={"executors": "head"}), NODES),
    ):
        require_reachable_engines(settings, nodes, "main")


@pytest.mark.parametrize(
    ("place", "executors", "cores", "local", "expected"),
    [
        (SPREAD, 2, 2, False, {NODE_ID_LABEL: "!main"}),
        (SPREAD, 3, 2, False, {}),
        (SPREAD, 2, 3, False, {}),
        (PACK, 2, 2, False, {NODE_ID_LABEL: "!main"}),
        (PACK, 3, 2, False, {}),
        (HEAD, 1, 2, False, {NODE_ID_LABEL: "in(main)"}),
        (ZONE, 1, 2, False, {"zone": "b"}),
        (SPREAD, 1, 2, True, {NODE_ID_LABEL: "in(main)"}),
    ],
)
def test_labels_of_the_nodes_for_executors(place: Place, executors: int, cores: int, local: bool, expected: dict[str, str]) -> None:
    assert bundle_selector(place, NODES, "main", executors, cores, local=local) == expected


def test_a_missing_label_of_executors_is_an_error_that_may_pass() -> None:
    with pytest.raises(EngineUnavailable, match=r"no node of the cluster has the label zone=c \(CRYPTOVIZ_PLACEMENT__EXECUTORS\)$"):
        bundle_selector(Place("label", "zone", "c"), NODES, "main", 1, 1, local=False)


def test_executors_need_their_cpus(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="NUM_CPUS is 3 and CRYPTOVIZ_LAKE__EXECUTOR_CORES is 2 for 2 executors"):
        load_settings(home=tmp_path, ray={"num_cpus": 3}, lake={"executors": 2})
