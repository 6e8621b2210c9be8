"""Ends orphaned Python workers of an earlier run of this lake job (after `kill -9`) before the start sweep.

Housekeeping only: correctness does not depend on it. Workers on other machines are not ended. They upload the files of their run's last batch plan,
which the new run also writes, byte for byte (`spark_jobs.streaming.batch_plan`).

Spark's Python workers end with their JVM within about a second. They are found by a variable in their environment, waited for, and killed.
"""

from __future__ import annotations

import os
import signal

from cryptoviz.log import get_logger
from cryptoviz.process_identity import ProcessIdentity, environments, wait_ended

__all__ = ["end_earlier_writers", "marked_processes"]

_GRACE_S = 3.0


def marked_processes(variable: str, lake_id: str, run: str) -> list[ProcessIdentity]:
    """Processes of this user whose environment has `variable=<lake_id>/<another run>`."""
    of_lake = os.fsencode(f"{variable}={lake_id}/")
    own = of_lake + os.fsencode(run)
    return [
        process
        for process, variables in environments()
        if process.pid != os.getpid() and any(each.startswith(of_lake) and each != own for each in variables)
    ]


def end_earlier_writers(variable: str, lake_id: str, run: str, grace_s: float = _GRACE_S) -> int:
    """Wait for workers of earlier runs, then kill the rest. Returns their number."""
    earlier = marked_processes(variable, lake_id, run)
    left = wait_ended(earlier, grace_s)
    for process in left:
        process.send(signal.SIGKILL)
    wait_ended(left, grace_s)
    if earlier:
        get_logger("lake").info("earlier writers ended", found=len(earlier), killed=len(left))
    return len(earlier)
