"""Engines, Ray and lake job of a benchmark: free ports and a temporary home."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptoviz.settings import Settings, claim_home, load_settings
from spark_jobs.streaming.actor import LakeActor
from tests.support.engines import engines as running
from tests.support.lake_job import LakeHost, host_lake
from tests.support.ports import free_port
from tests.support.ray_cluster import ray_on

__all__ = ["engines", "lake_host"]


@contextlib.contextmanager
def engines(**sections: Any) -> Iterator[Settings]:
    """A real Kafka and a real MinIO in a temporary home, and settings that name them. `sections` are settings, as `load_settings` takes them."""
    with tempfile.TemporaryDirectory(prefix="cv-bench-") as home:
        settings = _settings(Path(home), sections)
        with running(settings):
            yield settings


def _settings(home: Path, sections: dict[str, Any]) -> Settings:
    # Kafka's default retention is smaller than a backlog of millions.
    kafka = {"port": free_port(), "controller_port": free_port(), "retention_bytes": 64 << 30} | sections.pop("kafka", {})
    s3 = {"port": free_port(), "console_port": free_port()} | sections.pop("s3", {})
    lake = {"ui_port": free_port()} | sections.pop("lake", {})
    return claim_home(load_settings(home=home, log_level="WARNING", kafka=kafka, s3=s3, lake=lake, **sections))


@contextlib.contextmanager
def lake_host(settings: Settings, kind: type[LakeActor] = LakeActor) -> Iterator[LakeHost]:
    """A Ray of two CPUs with the lake actor in it, not started yet, that Ray does not restart. `kind`: the actor class, for variants."""
    with ray_on(2, "cryptoviz-bench") as cluster:
        host = host_lake(cluster, settings, kind=kind, max_restarts=0)
        yield host
        host.stop()
