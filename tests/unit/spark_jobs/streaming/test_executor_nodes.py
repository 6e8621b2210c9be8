"""Which executors were lost with their node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from unittest.mock import MagicMock, PropertyMock

import pytest

from spark_jobs.streaming import query_monitor
from spark_jobs.streaming.executor_nodes import ExecutorNodes
from spark_jobs.streaming.query_monitor import QueryMonitor
from tests.support.waiting import eventually

HEAD, ONE, TWO = "192.0.2.10", "192.0.2.11", "192.0.2.12"


def nodes(*answers: frozenset[str] | None) -> Callable[[], frozenset[str] | None]:
    left = list(answers)
    return lambda: left.pop(0)


def of(*addresses: str) -> frozenset[str]:
    return frozenset(addresses)


def test_an_executor_is_lost_with_its_node_and_not_with_another() -> None:
    watched = ExecutorNodes(nodes(of(HEAD, ONE, TWO), of(HEAD, ONE, TWO), of(HEAD, ONE), of(HEAD, ONE)))
    assert watched.lost([ONE, TWO]) == []
    assert watched.lost([ONE]) == []
    assert watched.lost([ONE, TWO]) == [TWO]


def test_a_node_that_joined_later_counts() -> None:
    watched = ExecutorNodes(nodes(of(HEAD, ONE), of(HEAD, ONE, TWO), of(HEAD, ONE)))
    assert watched.lost([TWO]) == []
    assert watched.lost([TWO]) == [TWO]


def test_nothing_is_lost_while_ray_does_not_answer_nor_under_a_name_that_ray_never_had() -> None:
    assert ExecutorNodes(nodes(of(HEAD, ONE), None)).lost([ONE]) == []
    assert ExecutorNodes(nodes(of(HEAD, ONE), of(HEAD))).lost(["worker-1"]) == []


def test_on_a_cluster_of_one_node_ray_is_not_asked() -> None:
    assert ExecutorNodes(nodes(of(HEAD))).lost([HEAD]) == []


@pytest.mark.parametrize("first", [of(HEAD), None], ids=["one node at the start", "no answer at the start"])
def test_a_node_that_an_executor_moved_to_counts(first: frozenset[str] | None) -> None:
    watched = ExecutorNodes(nodes(first, of(HEAD, ONE), of(HEAD)))
    assert watched.lost([ONE]) == []
    assert watched.lost([ONE]) == [ONE]


def test_a_lost_node_ends_the_run_at_once_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_monitor, "_EVERY_S", 0.01)
    monkeypatch.setattr(query_monitor, "ExecutorAddresses", lambda _: MagicMock(now=lambda: [TWO]))
    abort = MagicMock()
    writer = MagicMock(position={}, failure=None)
    monitor = QueryMonitor(
        MagicMock(), cast("Any", writer), MagicMock(), MagicMock(), MagicMock(), MagicMock(), lost=lambda addresses: addresses, abort=abort
    )
    # As `DriverCluster.watch` calls once the JVM has ended.
    abort.side_effect = lambda: monitor.end("Spark's driver (process 7) has ended with code -9")
    monitor.watch(MagicMock(isActive=True))
    try:
        eventually(lambda: monitor.ended)
        assert abort.call_count == 1
        assert monitor._failure == f"the node of an executor has left the cluster: {TWO}"
    finally:
        monitor.close()


def test_a_run_that_ends_during_a_look_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The JVM answered the look just before it ended."""
    monkeypatch.setattr(query_monitor, "ExecutorAddresses", lambda _: MagicMock(now=lambda: [TWO]))
    monitor = QueryMonitor(MagicMock(), MagicMock(position={}, failure=None), MagicMock(), MagicMock(), MagicMock(), MagicMock())

    def answer() -> bool:
        monitor.end("Spark's driver (process 7) has ended with code -9")
        return True

    monitor._query = MagicMock()
    type(monitor._query).isActive = PropertyMock(side_effect=answer)
    monitor._look()
    assert monitor.ended
