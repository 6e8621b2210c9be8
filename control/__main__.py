"""`python -m control --address HOST:PORT`: create the controller in a running Ray cluster and wait until it serves. Prints only errors."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Any

import ray
import ray.exceptions

from control.controller import CONTROLLER_NAME, Controller
from control.reconcile.ray_runtime import service_options
from cryptoviz.client import ControlClient
from cryptoviz.errors import CryptoVizError, PreflightError
from cryptoviz.settings import Settings, settings_from_environment

__all__ = ["launch", "main"]

_READY_TIMEOUT_S = 60.0


def launch(settings: Settings, timeout_s: float = _READY_TIMEOUT_S) -> None:
    """Create the controller in the joined cluster, or find it there; return when its gRPC service answers.

    Raises:
        PreflightError: the port is taken, or a controller with another address runs in this namespace.
        EngineUnavailable: the controller does not serve within `timeout_s` seconds.
    """
    options = service_options(CONTROLLER_NAME, settings.ray.namespace)
    remote: Any = ray.remote(Controller)
    controller = remote.options(**options).remote(settings)
    try:
        address = ray.get(controller.ready.remote(), timeout=timeout_s)
    except ray.exceptions.RayTaskError as error:
        ray.kill(controller, no_restart=True)
        if isinstance(error.cause, CryptoVizError):
            raise error.cause from None
        raise
    if address != settings.control.address:
        here = settings.control.address
        raise PreflightError(f"a controller already serves at {address}, not at {here}; stop it with `cryptoviz down`", problems=[address])
    with ControlClient.from_settings(settings) as client:
        client.list()


def main() -> int:
    """Exit code 0 when the controller serves; otherwise 1, with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m control", description="Start the CryptoViz controller in a running Ray cluster.")
    parser.add_argument("--address", default="auto", help="address of the cluster's GCS, host:port (default: the cluster of this machine)")
    address = parser.parse_args().address
    try:
        settings = settings_from_environment()
        ray.init(address=address, namespace=settings.ray.namespace, log_to_driver=False, logging_level=logging.WARNING)
        launch(settings)
    except (CryptoVizError, ray.exceptions.RayError, ConnectionError) as error:
        sys.stderr.write(f"control: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
