"""Executors whose node has left the Ray cluster. Spark, whose connections to it stay open, waits for them for two minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import ray
from ray.exceptions import RayError

from cryptoviz.placement import ClusterNode

__all__ = ["ExecutorNodes", "alive_addresses", "cluster_nodes"]


def cluster_nodes() -> list[ClusterNode]:
    """The cluster's nodes that are alive."""
    return ClusterNode.all_of(ray.nodes())


def alive_addresses() -> frozenset[str] | None:
    """Addresses of the cluster's nodes that are alive; None if Ray does not answer."""
    try:
        return frozenset(node.address for node in cluster_nodes())
    except RayError:
        return None


class ExecutorNodes:
    """For the executors of one run. Ray is not asked while the cluster's only node has them all.

    `alive`: addresses of the nodes that are alive, None if unknown.
    """

    def __init__(self, alive: Callable[[], frozenset[str] | None] = alive_addresses) -> None:
        self._alive = alive
        self._known = alive() or frozenset()

    def lost(self, executors: Iterable[str]) -> list[str]:
        """Those of the executors' addresses whose node was in the cluster and is no more."""
        addresses = frozenset(executors)
        if len(self._known) == 1 and addresses <= self._known:
            return []
        alive = self._alive()
        if alive is None:
            return []
        self._known |= alive
        return sorted(addresses & self._known - alive)
