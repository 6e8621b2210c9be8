"""`python -m control.cluster_nodes wait | stop-others`, on the head of `ray up cluster.yaml`: the cluster's workers.

`wait` waits until all workers have joined, and names those that have not. `stop-others` ends the processes of all workers. Started by
`cryptoviz.cli.cluster_node`, which gives it the variables of the cluster.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Collection

from ray.autoscaler._private.local.config import get_lock_path, get_state_path
from ray.autoscaler._private.local.node_provider import ClusterState

from actors.ray_actor import alive_nodes, join_cluster, run_on_other_nodes
from cryptoviz.cli.cluster_node import NODE_HOME, end_node, read_bootstrap
from cryptoviz.errors import CryptoVizError
from cryptoviz.settings import Settings, load_settings

__all__ = ["main", "missing_workers", "stop_others", "wait_for_workers"]

_POLL_S = 1.0
_CALL_S = 20.0
_GONE_S = 20.0


def wait_for_workers(settings: Settings) -> list[str]:
    """Wait until all workers of the cluster's configuration have joined. Returns those that have not in time.

    A worker that `ray up` has added is reported to Ray's autoscaler, which reads its list of nodes only once.
    """
    config = read_bootstrap()
    ClusterState(get_lock_path(config["cluster_name"]), get_state_path(config["cluster_name"]), config["provider"])
    wanted = config["provider"]["worker_ips"]
    deadline = time.monotonic() + settings.ray.workers_timeout_s
    said = None
    while missing := missing_workers(wanted, alive_nodes()):
        if missing != said:
            print(f"Waiting for {len(missing)} of {len(wanted)} workers: {', '.join(missing)}", flush=True)
            said = missing
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    return missing


def missing_workers(wanted: Collection[str], alive: Collection[str]) -> list[str]:
    """The workers, by name or address, that are not among the addresses of nodes."""
    return [worker for worker in wanted if _address(worker) not in alive]


def stop_others() -> list[str]:
    """End the other nodes of the cluster. Returns the addresses of those that are still there."""
    others = run_on_other_nodes(end_node, timeout_s=_CALL_S)  # the answer may be lost with the node
    for _ in range(round(_GONE_S / _POLL_S)):
        if not others.keys() & alive_nodes().keys():
            break
        time.sleep(_POLL_S)
    return sorted(others.keys() & alive_nodes().keys())


def _address(worker: str) -> str:
    try:
        return socket.gethostbyname(worker)
    except OSError:
        return worker


def main(command: str) -> int:
    """Exit code 1 if a worker is missing, or is still there."""
    try:
        settings = load_settings()
        join_cluster("auto", settings.ray.namespace)
        if command == "stop-others":
            if left := stop_others():
                print(f"Not stopped: {', '.join(left)}; they end by themselves once they miss the head", file=sys.stderr)
            return int(bool(left))
        missing = wait_for_workers(settings)
    except CryptoVizError as error:
        print(error.message, file=sys.stderr)
        return 1
    if missing:
        print(
            f"{len(missing)} workers have not joined within {settings.ray.workers_timeout_s:.0f} s (CRYPTOVIZ_RAY__WORKERS_TIMEOUT_S): "
            f"{', '.join(missing)}. Ray keeps trying; see {NODE_HOME}/ray/session_latest/logs/monitor.*",
            file=sys.stderr,
        )
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
