"""Faults 7 and 29: the pipeline starts before its engines, and the connections of collection, or of Spark, to the broker are cut. Engines of our own,
which the pipeline knows as external ones, behind proxies.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from bench.idle import DRIVER
from cryptoviz.settings import claim_home, load_settings
from tests.chaos.pipeline_rig import Recovery, assert_exact, assert_no_longer_said, assert_none_skipped, component, in_order, live
from tests.chaos.rig import ROUNDS, Figures
from tests.support import engines as support
from tests.support.engines import engines
from tests.support.external_engines import HOST, external_settings, kafka_server, start
from tests.support.measure import say
from tests.support.pipeline import Demo, detached_demo, environment
from tests.support.ports import free_port
from tests.support.tcp_proxy import Cut, TcpProxy
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

COLLECTION = frozenset({"CollectorActor", "ScraperActor"})
SPARK = frozenset({"LakeActor", DRIVER, "spark executor (JVM)", "spark tasks (Python)"})
SECRET = "canary-secret-of-the-cut-network"


@dataclass
class Late:
    """A demo whose engines do not run yet. `start`: by component."""

    demo: Demo
    proxy: TcpProxy
    start: Mapping[str, Callable[[], object]]


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Late]:
    assert not support.EXTERNAL
    folder = tmp_path_factory.mktemp("cut")
    home = folder / "home"
    sections = external_settings() | {"s3": {"port": free_port(), "console_port": free_port(), "secret_key": SECRET}, "redis": {"port": free_port()}}
    apart = claim_home(load_settings(home=folder / "apart", **sections))
    proxied, listens = int(apart.kafka.bootstrap_servers.rpartition(":")[2]), free_port()
    kafka = kafka_server(apart, folder / "kafka", listens)
    own = {f"CRYPTOVIZ_KAFKA__{name}".upper(): str(value) for name, value in sections["kafka"].items()}
    own |= {"CRYPTOVIZ_S3__ENDPOINT": apart.s3.endpoint, "CRYPTOVIZ_S3__ACCESS_KEY": apart.s3.access_key, "CRYPTOVIZ_S3__SECRET_KEY": SECRET}
    own |= {"CRYPTOVIZ_REDIS__URL": apart.redis.url, "CRYPTOVIZ_REDIS__PASSWORD": apart.redis.password.get_secret_value()}
    with contextlib.ExitStack() as stack:
        stack.callback(kafka.stop)
        demo = stack.enter_context(detached_demo(home, environment(home, 1.0) | own))
        proxy = stack.enter_context(TcpProxy(proxied, listens, HOST))
        begin = {
            "kafka": lambda: start(kafka, (HOST, listens)),
            "object-store": lambda: stack.enter_context(engines(apart, "object-store")),
            "redis": lambda: stack.enter_context(engines(apart, "redis")),
        }
        yield Late(demo, proxy, begin)


@pytest.fixture(scope="module")
def started(late: Late) -> Late:
    """With its engines."""
    for name, begin in late.start.items():
        with late.demo.control() as client:
            missing = str(client.get(name).state) != "RUNNING"
        if missing:
            begin()
    late.demo.await_rows()
    return late


def await_message(demo: Demo, name: str, *texts: str) -> None:
    """Wait until the status of a component contains these texts."""

    def said() -> bool:
        message = component(demo, name).message
        assert all(text in message for text in texts), message
        return True

    eventually(said, 120, 0.2)


@pytest.mark.short
def test_a_start_without_engines_names_those_missing_and_continues_with_each(late: Late) -> None:
    demo, figures = late.demo, Figures("fault 29")
    addresses = {"kafka": demo.settings.kafka.bootstrap_servers, "object-store": demo.settings.s3.endpoint, "redis": demo.settings.redis.url[8:-2]}
    for name, address in addresses.items():
        await_message(demo, name, "does not answer", address.rpartition("@")[2])
    await_message(demo, "collector", "waiting for kafka (")
    await_message(demo, "lake", "object-store (")
    shown = demo.cli("status").stdout
    assert "waiting for" in shown
    for name in ("redis", "object-store", "kafka"):
        begun_s = time.monotonic()
        late.start[name]()
        answers_s = time.monotonic()
        demo.await_states(240, **{name: "RUNNING"})
        figures.add(f"{name} answers after {answers_s - begun_s:.1f} s, RUNNING", time.monotonic() - answers_s)
    begun_s = time.monotonic()
    demo.await_rows()
    figures.add("all, with rows in the lake", time.monotonic() - begun_s)
    figures.tell()


def cut(late: Late, whom: frozenset[str], seconds: float, *, reset: bool, noticed: Callable[[], bool]) -> float:
    """Cut these programs off for so long; returns the seconds until the lake is current again."""
    connected = late.proxy.apply(Cut())
    assert connected & whom, connected
    late.proxy.apply(Cut(whom, reset))
    end_s = time.monotonic() + seconds
    try:
        eventually(noticed, max(60.0, seconds), 0.2)
        threading.Event().wait(max(0.0, end_s - time.monotonic()))
    finally:
        late.proxy.apply(Cut())
    return Recovery().made(late.demo)


@pytest.mark.parametrize(("seconds", "reset"), [pytest.param(8.0, False, marks=pytest.mark.short), (8.0, True), (60.0, False), (60.0, True)], ids=str)
def test_ticks_wait_while_collection_is_cut_off_from_the_broker(started: Late, seconds: float, *, reset: bool) -> None:
    demo, figures = started.demo, Figures("fault 7, collection")
    for _ in range(ROUNDS):
        eventually(lambda: in_order(demo), 120, 0.3)
        before, replaced = max(record.tick_ts for record in live(demo)), component(demo, "collector").restarts

        def noticed() -> bool:
            said = component(demo, "collector")
            assert "Kafka" in said.message or "has not acknowledged" in said.message, said.message
            return True

        took_s = cut(started, COLLECTION, seconds, reset=reset, noticed=noticed)
        figures.add(f"{seconds:.0f} s, {'reset' if reset else 'silent'}", took_s)
        assert_no_longer_said(demo, "collector", "Kafka")
        # The collector was not replaced: its queue would be lost.
        assert component(demo, "collector").restarts == replaced
        assert_none_skipped(demo, before)
    figures.tell()
    assert_exact(demo)


@pytest.mark.parametrize("seconds", [8.0, 60.0])
@pytest.mark.parametrize("reset", [False, True], ids=["silent", "reset"])
def test_the_lake_catches_up_after_spark_was_cut_off_from_the_broker(started: Late, seconds: float, *, reset: bool) -> None:
    demo, figures = started.demo, Figures("fault 7, Spark")
    for _ in range(ROUNDS):
        eventually(lambda: in_order(demo), 120, 0.3)
        before = max(record.tick_ts for record in live(demo))

        def noticed() -> bool:
            said = component(demo, "lake")
            assert str(said.state) == "DEGRADED", said
            say("lake:", said.message[:200])
            return True

        figures.add(f"{seconds:.0f} s, {'reset' if reset else 'silent'}", cut(started, SPARK, seconds, reset=reset, noticed=noticed))
        assert_none_skipped(demo, before)
    figures.tell()
    assert_exact(demo)
