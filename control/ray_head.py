"""`python -m control.ray_head start --head ...`: Ray's command line, in which a node neither waits for Ray's dashboard nor ends with it, and starts
Ray's client server only with `--ray-client-server-port`.

The dashboard imports for longer than everything else of Ray's start takes, and nothing in the pipeline needs it. It also gets a lower priority: its
twelve processes would compete with the pipeline's own start.
"""

from __future__ import annotations

import sys
from typing import Any

from ray._private import node, ray_constants, services
from ray.experimental import internal_kv
from ray.scripts import scripts

__all__ = ["main"]

_NICE = ("nice", "-n", "10")

_read, _start_process = internal_kv._internal_kv_get, services.start_ray_process
_dead: Any = node.Node.dead_processes


def _read_at_once(key: Any, *arguments: Any, **options: Any) -> Any:
    """The value of a key. Of the dashboard's address, which it publishes once it serves, the value that it will have."""
    if key == ray_constants.DASHBOARD_ADDRESS:
        given = dict(option.split("=", 1) for option in sys.argv if option.startswith("--dashboard-") and "=" in option)
        return f"{given['--dashboard-host']}:{given['--dashboard-port']}".encode()
    return _read(key, *arguments, **options)


def _start_gently(command: list[str], process_type: str, *arguments: Any, **options: Any) -> Any:
    """Start a process of Ray; the dashboard's with a lower priority."""
    prefix = _NICE if process_type == ray_constants.PROCESS_TYPE_DASHBOARD else ()
    return _start_process([*prefix, *command], process_type, *arguments, **options)


def _dead_without_dashboard(self: node.Node) -> list[tuple[str, Any]]:
    """The processes whose end ends the node."""
    return [(process_type, process) for process_type, process in _dead(self) if process_type != ray_constants.PROCESS_TYPE_DASHBOARD]


def main() -> None:
    """Run Ray's command."""
    vars(node)["Node"].dead_processes = _dead_without_dashboard
    internal_kv._internal_kv_get = _read_at_once
    services.start_ray_process = _start_gently
    if not any(option.startswith("--ray-client-server-port=") for option in sys.argv):
        # Without its client's packages Ray starts no server for it; no option does the same.
        vars(scripts)["get_ray_client_dependency_error"] = lambda: ImportError("not wanted")
    scripts.main()


if __name__ == "__main__":
    main()
