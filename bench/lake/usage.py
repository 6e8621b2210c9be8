"""CPU time and memory of this process and its descendants, by kind of process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil

from tests.support.measure import pss_mb, sum_by
from tests.support.processes import line_of

__all__ = ["Family", "Usage", "kind_of"]

# The first match in a command line decides; more specific ones come first.
_MARKS = (
    ("kafka.Kafka", "Kafka"),
    ("minio", "MinIO"),
    ("-m spark_jobs.streaming.daemon", "Python workers"),
    ("-m pyspark.daemon", "Python workers"),
    ("pyspark-shell", "driver JVM"),
    ("DefaultWorker", "executor JVM"),  # Ray's Java worker
    ("ray::LakeActor", "lake actor"),
    ("ray::", "Ray"),
    ("raylet", "Ray"),
    ("/ray start", "Ray"),
    ("gcs_server", "Ray"),
    ("bench.lake.contend", "contender"),
    ("bench-bento", "contender"),
)


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds (user and system) by kind of process, counted from the start of each."""

    seconds: Mapping[str, float]

    def since(self, before: Usage) -> dict[str, float]:
        """CPU time used in between, without kinds below 0.01 s."""
        used = {kind: round(total - before.seconds.get(kind, 0.0), 2) for kind, total in self.seconds.items()}
        return {kind: value for kind, value in sorted(used.items(), key=lambda item: -item[1]) if value >= 0.01}


class Family:
    """This process and all descendants; ended processes keep their last value."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, float]] = {}

    def usage(self) -> Usage:
        """CPU time now."""
        for process in self.processes():
            try:
                times = process.cpu_times()
                self._seen[process.pid] = (kind_of(line_of(process)), times.user + times.system)
            except psutil.Error:
                continue
        totals: dict[str, float] = {}
        for kind, seconds in self._seen.values():
            totals[kind] = totals.get(kind, 0.0) + seconds
        return Usage(totals)

    def processes(self) -> list[psutil.Process]:
        """Running processes."""
        own = psutil.Process()
        return [own, *own.children(recursive=True)]

    def memory_mb(self) -> dict[str, float]:
        """PSS in MB by kind: each shared page counted once."""
        return self._sum(pss_mb)

    def descriptors(self) -> dict[str, float]:
        """Open file descriptors by kind."""
        return self._sum(lambda process: process.num_fds())

    def _sum(self, measure: Callable[[psutil.Process], float]) -> dict[str, float]:
        totals = sum_by(self.processes(), lambda process: kind_of(line_of(process)), measure)
        return {kind: round(value, 1) for kind, value in sorted(totals.items(), key=lambda item: -item[1])}


def kind_of(command: str) -> str:
    """Kind of a process, from its command line."""
    return next((kind for mark, kind in _MARKS if mark in command), "bench")
