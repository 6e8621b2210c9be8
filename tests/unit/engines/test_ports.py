"""Ports and the processes that use them, with real sockets."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from cryptoviz.engines import ports
from cryptoviz.engines.ports import PortUse, holder_of, is_free, pipeline_ports, require_free
from cryptoviz.engines.process import spawn_bound
from cryptoviz.errors import PreflightError
from cryptoviz.settings import load_settings
from tests.support.ports import free_port


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_the_predecessors_ports_are_the_defaults() -> None:
    ports = {use.name: use.port for use in pipeline_ports(load_settings())}
    assert ports["dashboard"] == 5006
    assert ports["Redis"] == 6379
    assert ports["Spark UI"] == 8082
    assert ports["MinIO"] == 9002
    assert ports["Kafka"] == 19092
    assert ports["Ray dashboard"] == 8265
    assert ports["control service"] == 50051
    assert ports["MinIO console"] == 9003


def test_no_two_defaults_collide() -> None:
    ports = [use.port for use in pipeline_ports(load_settings("demo"))]
    assert len(set(ports)) == len(ports)


def test_external_engines_and_clusters_take_no_port() -> None:
    settings = load_settings(kafka={"bootstrap_servers": "k:1"}, s3={"endpoint": "http://s:1"}, redis={"url": "redis://r:1"}, ray={"address": "auto"})
    assert {use.name for use in pipeline_ports(settings)} == {"dashboard", "control service", "Spark UI"}


def test_each_port_moves_with_the_setting_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for use in pipeline_ports(load_settings("demo")):
        with monkeypatch.context() as changed:
            changed.setenv(use.setting, "12345")
            moved = {each.name: each.port for each in pipeline_ports(load_settings("demo"))}
        assert moved[use.name] == 12345


def test_a_taken_port_is_named_with_its_holder_and_setting(taken: int) -> None:
    use = PortUse("Kafka", taken, "CRYPTOVIZ_KAFKA__PORT")
    with pytest.raises(PreflightError) as caught:
        require_free((PortUse("free", free_port(), "X"), use))
    assert len(caught.value.problems) == 1
    for part in (str(taken), "Kafka", f"{psutil.Process().name()} (pid {os.getpid()})", "CRYPTOVIZ_KAFKA__PORT"):
        assert part in str(caught.value)


def test_a_free_port_has_no_process() -> None:
    port = free_port()
    assert is_free(port)
    assert holder_of(port) is None


def test_a_server_on_all_addresses_takes_the_port_too() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert not is_free(server.getsockname()[1])


def test_connections_that_linger_do_not_take_it(taken: int) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as server, socket.create_connection(("127.0.0.1", port)) as client:
        accepted, _ = server.accept()
        accepted.close()  # the server closes first: TIME_WAIT remains on its port
        assert client.recv(1) == b""
    assert is_free(port)


@contextmanager
def children_are_spawned() -> Iterator[None]:
    """Other threads start processes: until each runs its program, it has copies of all descriptors of this process."""
    ended = threading.Event()

    def spawn() -> None:
        while not ended.is_set():
            spawn_bound(["true"]).wait()

    threads = [threading.Thread(target=spawn) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_a_look_at_a_port_does_not_take_it() -> None:
    """Neither for a moment, as long as a child has a copy of the look's socket, nor for those who connect to it."""
    port = free_port()
    with children_are_spawned():
        assert [is_free(port) for _ in range(20_000)] == [True] * 20_000


def test_a_port_that_is_released_meanwhile_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([False, True])
    monkeypatch.setattr(ports, "is_free", lambda *_: next(looks))
    require_free((PortUse("Kafka", free_port(), "X"),))


def test_a_port_that_nobody_seen_holds_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda *_: False)
    with pytest.raises(PreflightError, match="an unknown process"):
        require_free((PortUse("Kafka", free_port(), "X"),))
