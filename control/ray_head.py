"""`python -m control.ray_head start --block ...`: Ray's command line, in which a node neither waits for Ray's dashboard nor ends with it, starts
Ray's client server only with `--ray-client-server-port`, and weighs less while it runs.

The dashboard imports for longer than everything else of Ray's start takes, and nothing in the pipeline needs it. It also gets a lower priority: its
processes would compete with the pipeline's own start. Modules for Ray's libraries, which nothing here uses, are not loaded: a process each.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from ray._private import node, ray_constants, services
from ray.experimental import internal_kv
from ray.scripts import scripts

__all__ = ["main"]

_NICE = ("nice", "-n", "10")
_DASHBOARD = Path(__file__).with_name("ray_dashboard.py")
_MODULES = ("EventHead", "JobHead", "NodeHead", "ReportHead", "StateHead")
"""Of Ray's dashboard. Without those for Ray Data, Serve and Train, and for Grafana, whose pages have no figures while Ray's metrics port is off."""
_FIRST = (ray_constants.PROCESS_TYPE_RAYLET, ray_constants.PROCESS_TYPE_GCS_SERVER)
"""Ended in this order before the others: a raylet then ends its workers, instead of losing the GCS."""

_read, _start_process = internal_kv._internal_kv_get, services.start_ray_process


def _read_at_once(key: Any, *arguments: Any, **options: Any) -> Any:
    """The value of a key. Of the dashboard's address, which it publishes once it serves, the value that it will have."""
    if key == ray_constants.DASHBOARD_ADDRESS:
        given = dict(option.split("=", 1) for option in sys.argv if option.startswith("--dashboard-") and "=" in option)
        return f"{given['--dashboard-host']}:{given['--dashboard-port']}".encode()
    return _read(key, *arguments, **options)


def _start_gently(command: list[str], process_type: str, *arguments: Any, **options: Any) -> Any:
    """Start a process of Ray; the dashboard's with a lower priority, by `ray_dashboard.py`, and without modules that nothing here uses."""
    if process_type == ray_constants.PROCESS_TYPE_DASHBOARD:
        program = next(place for place, part in enumerate(command) if part.endswith("dashboard.py"))
        command = [*_NICE, *command[:program], str(_DASHBOARD), *command[program:], f"--modules-to-load={','.join(_MODULES)}"]
    return _start_process(command, process_type, *arguments, **options)


def _become_watch(self: node.Node) -> NoReturn:
    """In place of the first look for ended processes, once the node runs: become the program that waits for them, with all but the dashboard."""
    kinds = [*_FIRST, *(kind for kind in self.all_processes if kind not in (*_FIRST, ray_constants.PROCESS_TYPE_DASHBOARD))]
    watched = [f"{kind}={info.process.pid}" for kind in kinds for info in self.all_processes.get(kind, ())]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until that program handles it
    os.execv(sys.executable, [sys.executable, "-I", "-S", str(Path(__file__).with_name("ray_watch.py")), *watched])  # noqa: S606


def main() -> None:
    """Run Ray's command."""
    vars(node)["Node"].dead_processes = _become_watch
    # It would look for ended processes too. The pipeline has stopped its components before its node ends.
    vars(node)["Node"]._drain_node_before_shutdown = lambda _node: None
    internal_kv._internal_kv_get = _read_at_once
    services.start_ray_process = _start_gently
    if not any(option.startswith("--ray-client-server-port=") for option in sys.argv):
        # Without its client's packages Ray starts no server for it; no option does the same.
        vars(scripts)["get_ray_client_dependency_error"] = lambda: ImportError("not wanted")
    scripts.main()


if __name__ == "__main__":
    main()
