"""Nodes of Spark's executors: a placement group of Ray, with one bundle for each executor. On a cluster of one node there is none."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from cryptoviz.errors import EngineUnavailable, PreflightError
from cryptoviz.placement import NODE_ID_LABEL, ClusterNode, Place, candidates, no_candidate
from cryptoviz.settings import Settings, loopback_engines
from spark_jobs.streaming.executor_nodes import cluster_nodes

__all__ = ["ExecutorPlaces", "bundle_selector"]

_FREE_TIMEOUT_S = 20.0  # Ray notices the end of a killed predecessor's executors with a delay
_POLL_S = 0.25
_SETTING = "CRYPTOVIZ_PLACEMENT__EXECUTORS"

_reserved: list[Any] = []
"""Placement groups of this process: at most one, since Spark has one driver."""


class ExecutorPlaces:
    """Room for the executors of one Spark application. Ray gives it back when `release` is called, or this process ends."""

    def __init__(self, settings: Settings) -> None:
        """Ask Ray for room; does not wait for it. Raises EngineUnavailable if no node is permitted."""
        self.release()  # of an earlier start that failed
        self._settings = settings
        lake = settings.lake
        self._nodes = cluster_nodes()
        self._group: Any = None
        place, cores = Place.parse(settings.placement.executors), lake.executor_cores
        local = bool(loopback_engines(settings))
        head_id = str(ray.get_runtime_context().get_node_id())
        selector = bundle_selector(place, self._nodes, head_id, lake.executors, cores, local=local)
        if len(self._nodes) == 1:
            return
        bundle = {"CPU": cores, "memory": lake.executor_memory_mb * 1024 * 1024}
        self._group = ray.util.placement_group(
            [bundle] * lake.executors,
            strategy="PACK" if place.rule == "pack" else "SPREAD",
            bundle_label_selector=[selector] * lake.executors if selector else None,
        )
        _reserved.append(self._group)

    @property
    def configs(self) -> dict[str, str]:
        """Options of RayDP: the group, and its bundles in the order of the executors."""
        if self._group is None:
            return {}
        return {
            "spark.ray.placement_group": self._group.id.hex(),
            "spark.ray.bundle_indexes": ",".join(map(str, range(self._settings.lake.executors))),
        }

    def wait(self) -> None:
        """Wait until the executors have room.

        Raises:
            PreflightError: this pipeline's own node has too few free CPUs.
            EngineUnavailable: the nodes of the cluster that the place permits have too few: others may come back.
        """
        lake = self._settings.lake
        if self._group is not None:
            if self._group.wait(_FREE_TIMEOUT_S):
                return
            free = ", ".join(f"{node.address} {_free(node):g} of {node.cpus:g}" for node in self._nodes)
            place = f"{_SETTING} is {self._settings.placement.executors}"
            raise EngineUnavailable(f"{_wanted(lake.executors, lake.executor_cores)}, and {place}; free CPUs of the nodes: {free}", engine="spark")
        deadline = time.monotonic() + _FREE_TIMEOUT_S
        while (free_here := ray.available_resources().get("CPU", 0.0)) < lake.executors * lake.executor_cores:
            if time.monotonic() > deadline:
                text = f"{_wanted(lake.executors, lake.executor_cores)}, but the Ray cluster has {free_here:g} free"
                if self._settings.ray.address:  # its workers may join later
                    raise EngineUnavailable(text, engine="spark")
                raise PreflightError(f"{text}: free some, raise CRYPTOVIZ_RAY__NUM_CPUS or lower the settings", problems=["cpu"])
            time.sleep(_POLL_S)

    @staticmethod
    def release() -> None:
        """Give the room back. The executors in it must have ended: Ray kills them otherwise."""
        while _reserved:
            with contextlib.suppress(RayError):
                ray.util.remove_placement_group(_reserved.pop())


def bundle_selector(place: Place, nodes: Sequence[ClusterNode], head_id: str, executors: int, cores: int, *, local: bool) -> dict[str, str]:
    """Labels of the nodes where the executors may run, as Ray's selector; empty for all nodes.

    The head, which hosts everything else, is excluded if the other nodes suffice: one for each executor, or to `pack` one for all. Ray chooses among
    the permitted nodes, again when a node has left, so the selector names no node for each executor.

    Raises:
        EngineUnavailable: no node has the label.
    """
    permitted = candidates(place, nodes, head_id, local=local)
    if not permitted:
        raise EngineUnavailable(no_candidate(place, nodes, _SETTING, local=local), engine="spark")
    workers = [node for node in permitted if node.id != head_id]
    room = [int(node.cpus // cores) for node in workers]
    without_head = max(room, default=0) >= executors if place.rule == "pack" else sum(map(bool, room)) >= executors
    if local or place.rule == "head":
        return {NODE_ID_LABEL: f"in({','.join(node.id for node in (workers if without_head else permitted))})"}
    labels = {place.key: place.value} if place.rule == "label" else {}
    return labels | ({NODE_ID_LABEL: f"!{head_id}"} if without_head and len(workers) < len(permitted) else {})


def _wanted(executors: int, cores: int) -> str:
    return f"the lake requires {executors} x {cores} CPUs (CRYPTOVIZ_LAKE__EXECUTORS, CRYPTOVIZ_LAKE__EXECUTOR_CORES)"


def _free(node: ClusterNode) -> float:
    found: dict[str, dict[str, float]] = ray._private.state.available_resources_per_node()
    return found.get(node.id, {}).get("CPU", 0.0)
