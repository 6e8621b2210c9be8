"""`python -m control --address HOST:PORT [--wait]`: create the controller in a running Ray cluster and wait until it serves. Prints only errors."""

from __future__ import annotations

import argparse
import asyncio
import sys

from actors.ray_actor import ActorDied, NoAnswer, RayActor, cluster_nodes, join_cluster, own_node
from control.controller import CONTROLLER_NAME, Controller
from control.engine_node import require_engine_node
from control.reachable_engines import require_reachable_engines
from cryptoviz.client import ControlClient
from cryptoviz.errors import CryptoVizError, PreflightError
from cryptoviz.settings import Settings, settings_from_environment

__all__ = ["launch", "main"]

_READY_TIMEOUT_S = 60.0


def launch(settings: Settings, timeout_s: float = _READY_TIMEOUT_S) -> None:
    """Create the controller in the joined cluster, or find it there; return when its gRPC service answers.

    Raises:
        PreflightError: the port is taken, a controller with another address runs in this namespace, the engines cannot start where they are placed,
            or workers would not reach them.
        NoAnswer: the controller does not serve within `timeout_s` seconds.
    """
    nodes, head = cluster_nodes(), own_node()
    require_engine_node(settings, nodes, head)
    require_reachable_engines(settings, nodes, head)
    controller = RayActor(CONTROLLER_NAME, settings.ray.namespace)
    controller.create(Controller, settings)
    address = asyncio.run(_ready(controller, timeout_s))
    if address != settings.control.address:
        here = settings.control.address
        raise PreflightError(f"a controller already serves at {address}, not at {here}; stop it with `cryptoviz down`", problems=[address])
    with ControlClient.from_settings(settings) as client:
        client.list()


async def _ready(controller: RayActor, timeout_s: float) -> str:
    try:
        address: str = await controller.call("ready", timeout_s=timeout_s)
    except ActorDied as died:
        raise died.with_message(f"{died.message}: {died.detail}") from None  # Ray's whole text would hide it
    except NoAnswer:
        raise
    except CryptoVizError:  # raised by the controller, which cannot start
        await controller.kill()
        raise
    return address


def main() -> int:
    """Exit code 0 when the controller serves; otherwise 1, with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m control", description="Start the CryptoViz controller in a running Ray cluster.")
    parser.add_argument("--address", default="auto", help="address of the cluster's GCS, host:port (default: the cluster of this machine)")
    parser.add_argument("--wait", action="store_true", help="import everything, then wait for a line on standard input before joining the cluster")
    given = parser.parse_args()
    if given.wait and not sys.stdin.readline():
        return 1  # the caller has ended
    try:
        settings = settings_from_environment()
        join_cluster(given.address, settings.ray.namespace)
        launch(settings)
    except CryptoVizError as error:
        sys.stderr.write(f"control: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
