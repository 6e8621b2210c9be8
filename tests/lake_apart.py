"""A second lake job, in a child process: RayDP starts one Spark per Ray namespace, and a process has one namespace."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayTaskError

from cryptoviz.settings import Settings
from tests.lake import NAMESPACE, LakeHost, host_lake

__all__ = ["LakeApart", "lake_apart"]

_hosts: list[LakeHost] = []  # in the child


@dataclass
class LakeApart:
    """Like `tests.lake.LakeHost`; each call runs in the child."""

    child: ProcessPoolExecutor

    def start(self) -> float:
        """Start the job; returns the duration in seconds."""
        return self.child.submit(_start).result(180)

    def stop(self) -> None:
        """End the job; the actor stays."""
        self.child.submit(_stop).result(90)

    def probe(self) -> Any:
        """Probe the actor like the controller."""
        return self.child.submit(_probe).result(30)


@contextlib.contextmanager
def lake_apart(cluster: Any, settings: Settings, name: str) -> Iterator[LakeApart]:
    """A host in the same cluster, not started."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as child:
        child.submit(_host, cluster.get_runtime_context().gcs_address, settings, name).result(120)
        yield LakeApart(child)


def _host(address: str, settings: Settings, name: str) -> None:
    import ray

    ray.init(address=address, namespace=f"{NAMESPACE}-{name}", log_to_driver=False, configure_logging=False)
    _hosts.append(host_lake(ray, settings, name))


def _start() -> float:
    try:
        return _hosts[0].start()
    except RayTaskError as error:  # such an error cannot be pickled again
        raise error.cause from None


def _stop() -> None:
    _hosts[0].stop()


def _probe() -> Any:
    return _hosts[0].probe()
