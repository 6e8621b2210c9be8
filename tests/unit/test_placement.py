"""The choice of nodes, without Ray: tests/integration/test_placement.py uses a real cluster."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from control.engine_node import engine_node, keep_engine_node, require_engine_node
from control.reachable_engines import require_reachable_engines
from control.reconcile.components import ComponentSpec, build_table
from control.reconcile.placer import Placer
from cryptoviz.components import ComponentKind
from cryptoviz.errors import EngineUnavailable, PreflightError, SettingsError
from cryptoviz.placement import HEAD, NODE_ID_LABEL, ClusterNode, Place, candidates, choose, other_machines
from cryptoviz.settings import Settings, claim_home, load_settings, loopback_engines, uses_own_loopback
from spark_jobs.streaming import executor_places
from spark_jobs.streaming.executor_places import ExecutorPlaces, bundle_selector
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zone=a,zone=b", "zone is given twice: a label of a node has one value"),
        ("zone=a,ray.io/node-id=x", "ray.io/node-id is a label that Ray gives"),
        ("-a/zone=b", "valid is KEY=VALUE"),
        ("zone = b", "valid is KEY=VALUE"),
        ("zone=ä", "valid is KEY=VALUE"),
    ],
)
def test_labels_that_a_node_cannot_have_are_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message) as refused:
        load_settings(home=tmp_path, ray={"labels": text})
    assert refused.value.setting == "CRYPTOVIZ_RAY__LABELS"


def test_labels_of_a_node_are_read(tmp_path: Path) -> None:
    assert load_settings(home=tmp_path, ray={"labels": "zone=a, example.org/disk=ssd-1,"}).ray.labels == "zone=a,example.org/disk=ssd-1"


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
    with pytest.raises(EngineUnavailable, match="no node of the head's machine, whose loopback is used, has the label zone=b"):
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
    with pytest.raises(EngineUnavailable, match=r"no node of the cluster has the label zone=c \(CRYPTOVIZ_PLACEMENT__EXECUTORS\); .*: zone=b$"):
        bundle_selector(Place("label", "zone", "c"), NODES, "main", 1, 1, local=False)


def test_executors_wait_for_the_label_also_if_only_the_head_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As scrapers do. Else a start while the workers are away would leave the executors on the head."""
    context = SimpleNamespace(get_node_id=lambda: "main")
    monkeypatch.setattr(executor_places, "ray", SimpleNamespace(get_runtime_context=lambda: context))
    monkeypatch.setattr(executor_places, "cluster_nodes", lambda: [ClusterNode("main", MAIN.address, 2.0, {"disk": "ssd"})])
    for place in ("spread", "pack", "head", "label:disk=ssd"):
        assert ExecutorPlaces(load_settings(home=tmp_path, placement={"executors": place})).configs == {}
    with pytest.raises(EngineUnavailable, match="no node of the head's machine, whose loopback is used, has the label zone=b"):
        ExecutorPlaces(load_settings(home=tmp_path, placement={"executors": "label:zone=b"}))


def test_executors_need_their_cpus(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="NUM_CPUS is 3 and CRYPTOVIZ_LAKE__EXECUTOR_CORES is 2 for 2 executors"):
        load_settings(home=tmp_path, ray={"num_cpus": 3}, lake={"executors": 2})


def placed_engines(tmp_path: Path, **sections: Any) -> Settings:
    return load_settings(home=tmp_path, **({"placement": {"engines": "label:disk=ssd"}, "engines": {"bind": "192.0.2.2"}} | sections))


SSD = ClusterNode("ssd", "192.0.2.2", 2, {"disk": "ssd"})


def test_engines_run_on_the_node_with_the_label(tmp_path: Path) -> None:
    assert engine_node(load_settings(home=tmp_path), NODES, "main") == MAIN
    assert engine_node(placed_engines(tmp_path), [MAIN, SSD], "main") == SSD
    wildcard = {"bind": "0.0.0.0", "advertised": "192.0.2.2"}
    assert engine_node(placed_engines(tmp_path, engines=wildcard), [MAIN, SSD], "main") == SSD
    by_name = {"bind": "0.0.0.0", "advertised": "ssd.example.org"}
    assert engine_node(placed_engines(tmp_path, engines=by_name), [MAIN, SSD], "main") == SSD


@pytest.mark.parametrize("place", ["spread", "pack"])
def test_engines_cannot_be_spread(place: str, tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=f"CRYPTOVIZ_PLACEMENT__ENGINES is '{place}': valid are head, and label:KEY=VALUE with a label of one node"
    ):
        load_settings(home=tmp_path, placement={"engines": place})


@pytest.mark.parametrize(
    ("sections", "nodes", "message"),
    [
        ({}, [MAIN, ONE], r"no node .* label disk=ssd \(CRYPTOVIZ_PLACEMENT__ENGINES\); labels of the nodes: 192.0.2.1: none; 192.0.2.2: zone=b$"),
        (
            {},
            [MAIN, SSD, ClusterNode("more", "192.0.2.9", 2, {"disk": "ssd"})],
            "2 nodes have the label .*: 192.0.2.2, 192.0.2.9; the engines need one",
        ),
        ({"engines": {"bind": "192.0.2.1"}}, [MAIN, SSD], "would look for the engines at 192.0.2.1: set .* to 192.0.2.2$"),
        ({"engines": {}}, [MAIN, SSD], "on its loopback only: set CRYPTOVIZ_ENGINES__BIND to 192.0.2.2$"),
    ],
)
def test_engines_that_cannot_run_there_are_refused(sections: dict[str, Any], nodes: list[ClusterNode], message: str, tmp_path: Path) -> None:
    with pytest.raises(PreflightError, match=message):
        require_engine_node(placed_engines(tmp_path, **sections), nodes, "main")


def test_a_node_of_the_engines_that_has_joined_again_is_waited_for(tmp_path: Path) -> None:
    """Ray lists the node from before its restart too, until it misses it for half a minute. A refusal would need an operator."""
    again = ClusterNode("again", SSD.address, SSD.cpus, SSD.labels)
    with pytest.raises(EngineUnavailable, match=r"the machine 192\.0\.2\.2 has 2 nodes with the label disk=ssd"):
        engine_node(placed_engines(tmp_path), [MAIN, SSD, again], "main")


def test_external_engines_need_no_node(tmp_path: Path) -> None:
    require_engine_node(external(tmp_path, placement={"engines": "label:disk=ssd"}), NODES, "main")


def test_engines_whose_data_is_on_another_node_are_refused(tmp_path: Path) -> None:
    moved = ClusterNode("new", "192.0.2.9", 2, {"disk": "ssd"})
    (tmp_path / "kafka").mkdir()
    with pytest.raises(PreflightError, match=r"the engines' data is on the node 192.0.2.1, and .* is label:disk=ssd, the node 192.0.2.2: move /"):
        engine_node(placed_engines(tmp_path), [MAIN, SSD], "main")
    (tmp_path / "kafka").rmdir()
    keep_engine_node(placed_engines(tmp_path), SSD)
    assert engine_node(placed_engines(tmp_path), [MAIN, SSD], "main") == SSD
    for settings, nodes in ((placed_engines(tmp_path, engines={"bind": "192.0.2.9"}), [MAIN, moved]), (load_settings(home=tmp_path), [MAIN, SSD])):
        with pytest.raises(PreflightError, match=r"the engines' data is on the node 192.0.2.2, .*remove .*engine-node.json; or change the setting"):
            engine_node(settings, nodes, "main")


async def test_a_lost_node_of_the_engines_may_come_back(tmp_path: Path) -> None:
    cluster, settings = Cluster(), claim_home(placed_engines(tmp_path))
    kept: list[ClusterNode] = []
    cluster.placer = Placer(lambda: cluster.nodes, lambda: "main", cluster.clock, partial(engine_node, settings), kept.append)
    kafka = build_table(settings)["kafka"]
    with pytest.raises(EngineUnavailable, match="no node of the cluster has the label disk=ssd"):
        await cluster.placer.choose(kafka)
    cluster.nodes = [MAIN, SSD]
    assert await cluster.placer.choose(kafka) == "ssd"
    assert kept == [SSD]


async def test_engines_do_not_count_as_scrapers(tmp_path: Path) -> None:
    cluster, settings = Cluster(), claim_home(placed_engines(tmp_path))
    cluster.nodes = [MAIN, SSD, TWO]
    cluster.placer = Placer(lambda: cluster.nodes, lambda: "main", cluster.clock, partial(engine_node, settings))
    table = build_table(settings)
    for name in ("kafka", "object-store", "redis"):
        assert await cluster.placer.choose(table[name]) == "ssd"
    assert [await cluster.place(name) for name in ("a", "b", "c", "d")] == ["ssd", "two", "main", "ssd"]


def test_engines_elsewhere_get_a_certificate_of_this_home(tmp_path: Path) -> None:
    table = build_table(claim_home(placed_engines(tmp_path)))
    _, _, identity = table["kafka"].args
    assert "BEGIN CERTIFICATE" in identity.certificate
    assert identity.authority == (tmp_path / "tls" / "ca.crt").read_text()
    assert len(build_table(claim_home(load_settings(home=tmp_path, **OPEN)))["kafka"].args) == 2
