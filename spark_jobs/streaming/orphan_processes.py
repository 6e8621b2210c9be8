"""Makes sure that the writers of an earlier run of this lake job, cut off by kill -9, are gone before its leftovers are cleared away.

It keeps the machine tidy and makes nothing safe: writers on another machine are out of reach, and need not be reached. They upload the files of the
batch that their run had planned, which the new run makes too, byte for byte (`spark_jobs.streaming.batch_plan`).

Spark's Python workers end with their JVM within about a second. Here they are found by the mark in their environment, waited for, and ended.
"""

from __future__ import annotations

import os
import signal

from cryptoviz.log import get_logger
from cryptoviz.process_identity import ProcessIdentity, environments, wait_ended

__all__ = ["end_earlier_writers", "marked_processes"]

_GRACE_S = 3.0


def marked_processes(variable: str, lake_id: str, run: str) -> list[ProcessIdentity]:
    """This user's processes whose environment says `variable=<lake_id>/<another run>`."""
    of_lake = os.fsencode(f"{variable}={lake_id}/")
    own = of_lake + os.fsencode(run)
    return [
        process
        for process, variables in environments()
        if process.pid != os.getpid() and any(each.startswith(of_lake) and each != own for each in variables)
    ]


def end_earlier_writers(variable: str, lake_id: str, run: str, grace_s: float = _GRACE_S) -> int:
    """Wait for them, then kill those that are left. Returns how many there were."""
    earlier = marked_processes(variable, lake_id, run)
    left = wait_ended(earlier, grace_s)
    for process in left:
        process.send(signal.SIGKILL)
    wait_ended(left, grace_s)
    if earlier:
        get_logger("lake").info("earlier writers ended", found=len(earlier), killed=len(left))
    return len(earlier)
