"""Python workers of earlier runs of the lake job: found by a variable, and ended, on every node of the Ray cluster."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from cryptoviz.errors import CryptoVizError
from cryptoviz.local.process_identity import ProcessIdentity, environments, wait_ended
from cryptoviz.log import get_logger

__all__ = ["OnOtherNodes", "end_earlier_writers", "end_on_all_nodes", "marked_processes"]

_ORPHAN_GRACE_S = 3.0
_NODE_S = 30.0  # the start of a Ray worker, and twice the grace period

log = get_logger("lake")


class OnOtherNodes(Protocol):
    """Runs a function on each other node of the cluster; its results, or errors in their place, by the node's address."""

    def __call__(self, function: Any, *arguments: object, timeout_s: float) -> dict[str, Any]: ...


def end_on_all_nodes(variable: str, lake_id: str, run: str, on_others: OnOtherNodes | None) -> int:
    """`end_earlier_writers` on this node and, by `on_others`, on the others. Returns the number of processes. A node without an answer is logged."""
    with ThreadPoolExecutor(1, thread_name_prefix="earlier-writers") as pool:
        here = pool.submit(end_earlier_writers, variable, lake_id, run)
        found = {} if on_others is None else on_others(end_earlier_writers, variable, lake_id, run, timeout_s=_NODE_S)
        for node, answer in found.items():
            if isinstance(answer, CryptoVizError):
                log.warning("earlier_writers_of_node_unknown", node=node, error=answer.message)
        return here.result() + sum(answer for answer in found.values() if isinstance(answer, int))


def marked_processes(variable: str, lake_id: str, run: str) -> list[ProcessIdentity]:
    """Processes of this user whose environment has `variable=<lake_id>/<another run>`."""
    of_lake = os.fsencode(f"{variable}={lake_id}/")
    own = of_lake + os.fsencode(run)
    return [
        process
        for process, variables in environments()
        if process.pid != os.getpid() and any(each.startswith(of_lake) and each != own for each in variables)
    ]


def end_earlier_writers(variable: str, lake_id: str, run: str, grace_s: float = _ORPHAN_GRACE_S) -> int:
    """Wait for Python workers of earlier runs, orphaned by `kill -9`, then kill the rest. Returns their number.

    Housekeeping only: correctness does not depend on it. Workers on a machine that has left the cluster are not ended. They upload files of their
    run's last batch plan, which the new run also writes, byte for byte (`spark_jobs.streaming.batch_plan`). Orphans normally end with their JVM,
    within about a second.
    """
    earlier = marked_processes(variable, lake_id, run)
    left = wait_ended(earlier, grace_s)
    for process in left:
        process.send(signal.SIGKILL)
    wait_ended(left, grace_s)
    if earlier:
        log.info("earlier_writers_ended", found=len(earlier), killed=len(left))
    return len(earlier)
