"""Time from the start of a job with a backlog to its first commit."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench.lake.commits import commits
from bench.lake.environment import engines, lake_host
from bench.lake.feed import backlog
from bench.lake.figures import Figure, Part
from bench.lake.position import wait_for
from bench.lake.records import records
from bench.lake.verify_summary import verdict

__all__ = ["Sizes", "cold"]

_AIM_S = 6.0
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """Backlog in records: a small one, and the maximum of one batch."""

    few: int = 1_700
    many: int = 400_000


def cold(sizes: Sizes) -> Part:
    """A separate job for each size."""
    figures, proof = [], ""
    for count in (sizes.few, sizes.many):
        with engines() as settings:
            ends = backlog(settings, records(count, "full")).ends
            with lake_host(settings) as host:
                started_s = host.start()
                ready = time.time()
                wait_for(settings, ends, _TIMEOUT_S)
                first = commits(settings)[0]
                took = first.visible_ms / 1000 - ready
            proof = verdict(settings)
        note = f"{first.rows} rows in it; the start before it took {started_s:.1f} s"
        figures.append(
            Figure(f"first batch of a new job, {count} records waiting", round(took, 2), "s", f"<= {_AIM_S:g} s", took <= _AIM_S, note, proof)
        )
    return Part("cold", "Cold first batch", "full records; from the end of the job's start to the first commit in the store", tuple(figures), proof)
