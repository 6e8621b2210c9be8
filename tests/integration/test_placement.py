"""Scrapers and executors on the nodes of a real Ray cluster, with Kafka, MinIO, Redis and Spark."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from actors.ray_actor import cluster_nodes, own_node
from control.__main__ import launch
from control.engine_node import engine_node, keep_engine_node
from control.reconcile.components import ComponentSpec, build_table
from control.reconcile.placer import Placer
from control.reconcile.ray_runtime import RayRuntime
from cryptoviz.components import Probe
from cryptoviz.engines.build import ENGINE_NAMES
from cryptoviz.errors import ComponentLost, CryptoVizError, EngineUnavailable, PreflightError
from cryptoviz.lake.objects import S3Access, minio_client
from cryptoviz.records import UnifiedRecord
from cryptoviz.settings import PlacementSettings, Settings, claim_home, load_settings
from market.server import ReplayMarket
from spark_jobs.streaming import executor_places
from spark_jobs.streaming.executor_places import ExecutorPlaces
from tests.support.collection import PROVIDERS, settings_for
from tests.support.engines import engine_sections, engines, kafka_and_redis, lake_settings
from tests.support.lake_job import LakeHost, caught_up, host_lake
from tests.support.measure import say
from tests.support.ports import free_port
from tests.support.ray_cluster import NODE, ray_node, ray_on
from tests.support.records import TICK
from tests.support.topics import Feed, read_all
from tests.support.waiting import eventually, eventually_async

pytestmark = [pytest.mark.integration, pytest.mark.long]

NAMESPACE = "cryptoviz"
SECOND = "127.0.0.3"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster with its head only."""
    with ray_on(2, NAMESPACE) as ray:
        yield ray


def placed(settings: Settings, place: str, **lake: Any) -> Settings:
    """The settings with another place for the executors."""
    changed = {"placement": PlacementSettings(executors=place), "lake": settings.lake.model_copy(update=lake)}
    return settings.model_copy(update=changed)


def _runs_on(host: LakeHost, nodes: dict[str, int]) -> bool:
    """Whether the job sees this number of executors on each node."""
    assert Counter(host.probe().nodes) == nodes
    return True


class Pipeline:
    """Collector and scrapers, as the controller runs them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.table = build_table(settings)
        self.runtime = RayRuntime(settings.ray.namespace)
        self.names = ("collector", *(f"scraper/{name}" for name in PROVIDERS))

    def spec(self, name: str) -> ComponentSpec:
        return self.table[name]

    async def start(self, name: str) -> Probe:
        async def started() -> Probe | None:
            try:
                await self.runtime.start(self.spec(name))
                probe = await self.runtime.probe(self.spec(name))
            except CryptoVizError:
                return None
            return probe if probe.running else None

        probe = await eventually_async(started, 90)
        assert probe is not None
        return probe

    async def published(self, more: int) -> None:
        """Wait for this many ticks more."""
        before = (await self.runtime.probe(self.spec("collector"))).metrics["ticks_published_total"]

        async def reached() -> bool:
            return (await self.runtime.probe(self.spec("collector"))).metrics["ticks_published_total"] >= before + more

        await eventually_async(reached, 120)


async def test_scrapers_run_on_all_nodes_and_move_with_their_state_when_one_is_lost(cluster: Any, tmp_path: Path) -> None:
    with kafka_and_redis(tmp_path / "engines") as base, ray_node(cluster, SECOND, 1) as kill_second:
        async with ReplayMarket() as market:
            settings = settings_for(base.settings, tmp_path, {name: market.base_url(name) for name in PROVIDERS})
            pipeline = Pipeline(settings)
            nodes = {name: (await pipeline.start(name)).nodes for name in pipeline.names}
            assert nodes == {"collector": (NODE,), "scraper/coingecko": (SECOND,), "scraper/coinmarketcap": (NODE,)}
            await pipeline.published(3)

            moving = pipeline.spec("scraper/coingecko")
            # What another controller finds, and where the log of the scraper is read.
            found = await RayRuntime(NAMESPACE).find(moving)
            assert found is not None
            assert found.nodes == (SECOND,)
            ids = {node.address: node.id for node in cluster_nodes()}
            assert await pipeline.runtime.run_at(moving, own_node) == ids[SECOND]
            assert await pipeline.runtime.run_at(pipeline.spec("collector"), own_node) == ids[NODE]

            await pipeline.runtime.call(moving, "trip_breaker", "not now")
            await asyncio.to_thread(kill_second)
            (settings.run_dir / "breaker-coingecko.json").unlink()  # the disk of the lost machine

            async def lost() -> bool:
                try:
                    return not (await pipeline.runtime.probe(moving)).running
                except ComponentLost:
                    return True

            await eventually_async(lost, 120)
            with pytest.raises(EngineUnavailable, match=f"the node of scraper/coingecko, {SECOND}, does not answer"):
                await pipeline.runtime.run_at(moving, own_node)
            assert (await pipeline.start("scraper/coingecko")).nodes == (NODE,)
            status: Any = await pipeline.runtime.call(moving, "provider_status")
            assert (status.breaker.state, status.breaker.reason, status.breaker.by_operator) == ("open", "not now", True)
            await pipeline.runtime.call(moving, "reset_breaker")
            await pipeline.published(3)
            for name in reversed(pipeline.names):
                await pipeline.runtime.stop(pipeline.spec(name), 5)
        values = await asyncio.to_thread(read_all, settings, settings.kafka.stream_topic)
    records = [UnifiedRecord.from_json(value) for value in values]
    assert all(count == 1 for count in Counter(record.event_id for record in records).values())
    assert len(records) == 17 * len({record.tick_ts for record in records}) >= 17 * 6
    roles = {record.tick_ts: record.role for record in records}
    assert roles[max(roles)] == "primary"


def test_executors_write_the_lake_where_they_are_placed(cluster: Any, tmp_path: Path) -> None:
    base = lake_settings(tmp_path / "lake", executors=2, executor_cores=1)
    with engines(base), ray_node(cluster, SECOND, 2, "zone=b"):
        feed = Feed(base)
        for number, (settings, nodes) in enumerate(
            (
                (placed(base, "spread"), {NODE: 1, SECOND: 1}),
                (placed(base, "pack"), {SECOND: 2}),  # needs all CPUs of the node, of which the run before has just had one
                (placed(base, "label:zone=b", executors=1), {SECOND: 1}),
            )
        ):
            feed.tick(TICK + number * 60_000)
            host = host_lake(cluster, settings, f"lake-{number}")
            say("start s:", round(host.start(), 1))
            report = caught_up(settings)
            assert report.ok, report.to_text()
            assert [one.rows for one in report.comparisons if one.table == "prices"] == [17 * (number + 1)] * 2
            assert eventually(partial(_runs_on, host, nodes), 120)
            host.stop()
            cluster.kill(host.actor)


def test_room_for_executors(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = load_settings(home=tmp_path, ray={"address": "auto"}, lake={"executors": 1, "executor_cores": 2})
    alone = ExecutorPlaces(base)
    assert alone.configs == {}  # no group on a cluster of one node
    alone.wait()
    with ray_node(cluster, SECOND, 2, "zone=b"):
        first = ExecutorPlaces(placed(base, "label:zone=b"))
        first.wait()
        again = ExecutorPlaces(placed(base, "label:zone=b"))  # gives back the room of the first
        again.wait()
        assert again.configs["spark.ray.bundle_indexes"] == "0"
        assert again.configs != first.configs
        monkeypatch.setattr(executor_places, "_FREE_TIMEOUT_S", 1.0)
        with pytest.raises(EngineUnavailable, match=rf"requires 2 x 2 CPUs .* is label:zone=b; free CPUs of the nodes: .*{SECOND} 2 of 2"):
            ExecutorPlaces(placed(base, "label:zone=b", executors=2)).wait()
        ExecutorPlaces.release()


async def test_engines_run_on_the_node_with_their_label_and_wait_for_it(cluster: Any, tmp_path: Path) -> None:
    address = other_address() or SECOND  # beyond loopback the engines use TLS, with a certificate from the head
    sections = engine_sections()
    settings = claim_home(
        load_settings(
            home=tmp_path, kafka=sections["kafka"] | {"broker_port": free_port()}, s3=sections["s3"], redis=sections["redis"],
            engines={"bind": address}, placement={"engines": "label:disk=ssd"},
        )
    )  # fmt: skip
    placer = Placer(engine_node=partial(engine_node, settings), keep_engine_node=partial(keep_engine_node, settings))
    runtime, table = RayRuntime(NAMESPACE, placer), build_table(settings)
    kafka, names = table["kafka"], ENGINE_NAMES
    store, bucket = minio_client(S3Access.of(settings.s3)), settings.s3.lake_bucket
    with ray_node(cluster, address, 0, "disk=ssd") as kill:
        for name in names:
            await runtime.start(table[name])
            probe = await runtime.probe(table[name])
            assert (probe.healthy, probe.nodes) == (True, (address,)), probe.message
        produced = Feed(settings)
        await asyncio.to_thread(produced.tick, TICK)
        # Also the end of its transaction is stored: a broker that is killed before that may never write it (ADR 23).
        assert len(await asyncio.to_thread(read_all, settings, settings.kafka.stream_topic)) == 17
        await asyncio.to_thread(store.put_object, bucket, "kept", io.BytesIO(b"on the disk of the node"), 23)
        await asyncio.to_thread(kill)

        async def lost() -> bool:
            try:
                return not (await runtime.probe(kafka)).running
            except ComponentLost:
                return True

        await eventually_async(lost, 120)
        await eventually_async(partial(no_node, runtime, kafka), 120)
    with ray_node(cluster, address, 0, "disk=ssd"):
        for name in names:
            await runtime.start(table[name])
        assert (await runtime.probe(kafka)).nodes == (address,)
        assert len(await asyncio.to_thread(read_all, settings, settings.kafka.stream_topic)) == 17
        assert (await asyncio.to_thread(store.get_object, bucket, "kept")).data == b"on the disk of the node"
        for name in names:
            await runtime.stop(table[name], 15)
    with pytest.raises(PreflightError, match=rf"the engines' data is on the node {address}"):
        launch(load_settings(home=tmp_path))


async def no_node(runtime: RayRuntime, spec: ComponentSpec) -> bool:
    """Whether a start says that no node has the label."""
    try:
        await runtime.start(spec)
    except EngineUnavailable as error:
        return "no node of the cluster has the label disk=ssd" in error.message
    except ComponentLost:
        pass
    return False


def other_address() -> str | None:
    """An address of this machine that is not loopback."""
    addresses = [each.address for found in psutil.net_if_addrs().values() for each in found if each.family.name == "AF_INET"]
    return next((address for address in addresses if not address.startswith("127.")), None)


def test_engines_on_loopback_are_refused_if_another_machine_would_use_them(cluster: Any, tmp_path: Path) -> None:
    other = other_address()
    if other is None:
        pytest.skip("this machine has no address but loopback")
    with ray_node(cluster, other, 1), pytest.raises(PreflightError, match=rf"other machines \({other}\).*set CRYPTOVIZ_ENGINES__BIND to"):
        launch(load_settings(home=tmp_path))
