"""Engines, Ray and lake job of a benchmark: free ports and a temporary home."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from deltalake.exceptions import TableNotFoundError

from cryptoviz.components import Probe
from cryptoviz.engines.build import build_engine
from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import table_address
from cryptoviz.lake.progress import read_progress
from cryptoviz.settings import SPARK_SECRET_VARIABLE, Settings, claim_home, load_settings
from spark_jobs.streaming.actor import LakeActor
from tests.support.ports import free_port

__all__ = ["Host", "Position", "engines", "lake_host", "lake_position", "wait_for"]

Position = dict[int, int]
"""Partition to the next offset that the prices table will read."""


@contextlib.contextmanager
def engines(**sections: Any) -> Iterator[Settings]:
    """A real Kafka and a real MinIO in a temporary home, and settings that name them. `sections` are settings, as `load_settings` takes them."""
    with tempfile.TemporaryDirectory(prefix="cv-bench-") as home, contextlib.ExitStack() as stack:
        settings = _settings(Path(home), sections)
        for name in ("kafka", "object-store"):
            engine = build_engine(name, settings)
            stack.callback(engine.stop)
            engine.start()
        yield settings


def _settings(home: Path, sections: dict[str, Any]) -> Settings:
    # Kafka's default retention is smaller than a backlog of millions.
    kafka = {"port": free_port(), "controller_port": free_port(), "retention_bytes": 64 << 30} | sections.pop("kafka", {})
    s3 = {"port": free_port(), "console_port": free_port()} | sections.pop("s3", {})
    lake = {"ui_port": free_port()} | sections.pop("lake", {})
    return claim_home(load_settings(home=home, log_level="WARNING", kafka=kafka, s3=s3, lake=lake, **sections))


@dataclass(frozen=True, slots=True)
class Host:
    """The lake actor, hosted in Ray as by the controller."""

    actor: Any

    def start(self) -> float:
        """Start and return the duration in seconds."""
        begun = time.monotonic()
        ray.get(self.actor.start.remote(), timeout=120)
        return time.monotonic() - begun

    def stop(self) -> None:
        """Stop after the current batch."""
        ray.get(self.actor.stop.remote(), timeout=90)

    def probe(self) -> Probe:
        """The actor's probe."""
        probe: Probe = ray.get(self.actor.probe.remote(), timeout=10)
        return probe


@contextlib.contextmanager
def lake_host(settings: Settings, kind: type[LakeActor] = LakeActor) -> Iterator[Host]:
    """A Ray of two CPUs with the lake actor in it, not started yet. `kind`: the actor class, for variants."""
    os.environ.setdefault(SPARK_SECRET_VARIABLE, secrets.token_hex(32))  # as in the cluster of `up`
    ray.init(
        address="local",
        num_cpus=2,
        namespace="cryptoviz-bench",
        object_store_memory=128 << 20,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
    )
    try:
        actor = ray.remote(kind).options(name="lake", num_cpus=0, max_restarts=0).remote(settings)
        host = Host(actor)
        yield host
        host.stop()
    finally:
        ray.shutdown()


def lake_position(settings: Settings) -> Position:
    """Progress of the prices table, from its log."""
    address = table_address(settings.s3, "prices")
    try:
        progress = read_progress(DeltaTable(address.uri, storage_options=settings.s3.storage_options()))
    except TableNotFoundError:
        return {}
    return {partition: offset for (_, partition), offset in progress.offsets.items()} if progress else {}


def wait_for(settings: Settings, ends: Position, timeout_s: float, every_s: float = 0.1) -> None:
    """Wait until the prices table has reached `ends`. Raises SystemExit on a timeout."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout_s
    while True:
        position = lake_position(settings)
        if all(position.get(partition, 0) >= end for partition, end in ends.items()):
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"the lake is at {position} after {timeout_s:.0f} s and should be at {ends}")
        pause.wait(every_s)
