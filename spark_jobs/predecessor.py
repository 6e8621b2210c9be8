"""Makes sure that the writers of an earlier run of this lake job, cut off by kill -9, are gone before its leftovers are cleared away.

Spark's Python workers end with their JVM within about a second. Here they are found by the mark in their environment, waited for, and ended.
"""

from __future__ import annotations

import contextlib
import os

import psutil

from cryptoviz.log import get_logger

__all__ = ["end_earlier_writers", "marked_processes"]

_GRACE_S = 3.0


def marked_processes(variable: str, lake_id: str, run: str) -> list[psutil.Process]:
    """This user's processes whose environment says `variable=<lake_id>/<another run>`."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError):
            mark = process.environ().get(variable, "")
            if mark.startswith(f"{lake_id}/") and mark != f"{lake_id}/{run}":
                found.append(process)
    return found


def end_earlier_writers(variable: str, lake_id: str, run: str, grace_s: float = _GRACE_S) -> int:
    """Wait for them, then kill those that are left. Returns how many there were."""
    earlier = marked_processes(variable, lake_id, run)
    _, left = psutil.wait_procs(earlier, timeout=grace_s)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=grace_s)
    if earlier:
        get_logger("lake").info("earlier writers ended", found=len(earlier), killed=len(left))
    return len(earlier)
