"""The lake actor in a test's Ray, started and probed as by the controller."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cryptoviz.lake.verify import Report, verify
from cryptoviz.settings import Settings
from spark_jobs.streaming.actor import LakeActor
from tests.support.ray_cluster import ray_on
from tests.support.waiting import eventually

NAMESPACE = "cryptoviz-lake-test"


@dataclass
class LakeHost:
    """A lake actor in this test's Ray."""

    actor: Any
    ray: Any

    def start(self) -> float:
        """Start the job; returns the duration in seconds."""
        begun = time.monotonic()
        self.ray.get(self.actor.start.remote(), timeout=240)
        return time.monotonic() - begun

    def stop(self) -> None:
        """End the job; the actor stays."""
        self.ray.get(self.actor.stop.remote(), timeout=180)

    def probe(self) -> Any:
        """Probe the actor like the controller."""
        return self.ray.get(self.actor.probe.remote(), timeout=60)


@contextlib.contextmanager
def ray_cluster() -> Iterator[Any]:
    """A local Ray of two CPUs."""
    with ray_on(2, NAMESPACE) as ray:
        yield ray


def host_lake(ray: Any, settings: Settings, name: str = "lake", kind: type[LakeActor] = LakeActor, max_restarts: int = -1) -> LakeHost:
    """The lake actor, with the options of the controller. `kind`: the actor's class, for variants."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"name": name, "lifetime": "detached", "num_cpus": 0, "max_restarts": max_restarts, "scheduling_strategy": here}
    actor = ray.remote(kind).options(**options).remote(settings)
    return LakeHost(actor, ray)


def caught_up(settings: Settings, timeout_s: float = 120.0, topic: str = "") -> Report:
    """The verifier's report once the lake has all records of Kafka. `topic`: which has some; by default that of prices."""

    def check() -> Report | None:
        report = verify(settings)
        some = next(one for one in report.comparisons if one.topic == (topic or settings.kafka.stream_topic)).kafka_records
        return report if report.pending == 0 and some else None

    report = eventually(check, timeout_s, every_s=0.5)
    assert report is not None
    return report


_hosts: list[LakeHost] = []  # in the child


@dataclass
class LakeApart:
    """Like `tests.support.lake_job.LakeHost`; each call runs in the child."""

    child: ProcessPoolExecutor

    def start(self) -> float:
        """Start the job; returns the duration in seconds."""
        return self.child.submit(_start).result(300)

    def stop(self) -> None:
        """End the job; the actor stays."""
        self.child.submit(_stop).result(240)

    def probe(self) -> Any:
        """Probe the actor like the controller."""
        return self.child.submit(_probe).result(90)


@contextlib.contextmanager
def lake_apart(cluster: Any, settings: Settings, name: str) -> Iterator[LakeApart]:
    """A host in the same cluster, not started."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as child:
        child.submit(_host, cluster.get_runtime_context().gcs_address, settings, name).result(240)
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
