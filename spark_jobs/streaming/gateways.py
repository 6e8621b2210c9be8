"""Authentication for PySpark: its callback server requires a token, Spark's own connections a shared secret.

Without this, PySpark 3.5 opens its callback server without a token: any user of the machine could run code as the owner of the pipeline.
"""

from __future__ import annotations

import os
import secrets
from typing import Any

from py4j.java_gateway import JavaObject
from pyspark.java_gateway import ensure_callback_server_started

from cryptoviz.errors import EngineUnavailable, PreflightError
from cryptoviz.settings import SPARK_SECRET_VARIABLE

__all__ = ["AUTHENTICATION", "SECRET_OPTION", "secure_callback_server", "share_application_id", "spark_secret"]

AUTHENTICATION = {"spark.authenticate": "true", "spark.network.crypto.enabled": "true", "spark.network.crypto.saslFallback": "false"}
"""Spark's RPC and block transfer: authenticated by the secret, and encrypted. The secret is never an argument or part of Ray's configuration."""

SECRET_OPTION = "spark.authenticate.secret"  # noqa: S105 (the name of an option)


def spark_secret() -> str:
    """The secret in the environment of this process and of Ray's Java workers.

    Raises:
        PreflightError: Ray was started without it.
    """
    secret = os.environ.get(SPARK_SECRET_VARIABLE, "")
    if not secret:
        raise PreflightError(
            f"Ray was started without {SPARK_SECRET_VARIABLE} in its environment, so Spark's processes cannot authenticate each other: start Ray on "
            "each node with the same value (cluster.yaml shows how)",
            problems=["spark-secret"],
        )
    return secret


def secure_callback_server(gateway: Any) -> None:
    """Start PySpark's callback server with a token, before anything else starts it without."""
    if gateway.callback_server_parameters.auth_token is not None:
        return
    token = secrets.token_urlsafe(32)
    gateway.callback_server_parameters.auth_token = token
    ensure_callback_server_started(gateway)
    # Py4J's Java side drops the token when it receives the server's port (PythonClient.copyWith).
    client = JavaObject("GATEWAY_SERVER", gateway._gateway_client).getCallbackClient()
    _field(client, "authToken").set(client, token)


def share_application_id(session: Any) -> None:
    """Make the driver's block transfer use the application id of the executors.

    RayDP gives the executors the id of its application master and the driver a different one. With authenticated connections, blocks are served only
    to clients of the same application.
    """
    backend = session.sparkContext._jsc.sc().schedulerBackend()
    application = _field(backend, "org$apache$spark$scheduler$cluster$raydp$RayCoarseGrainedSchedulerBackend$$appId").get(backend).get()
    service = session._jvm.org.apache.spark.SparkEnv.get().blockManager().blockTransferService()
    context = _field(service, "transportContext").get(service)
    server = _field(context, "rpcHandler").get(context)
    factory = _field(service, "clientFactory").get(service)
    for owner in (server, *_field(factory, "clientBootstraps").get(factory)):
        _field(owner, "appId").set(owner, application)


def _field(owner: Any, name: str) -> Any:
    kind = owner.getClass()
    while kind is not None:
        for field in kind.getDeclaredFields():
            if field.getName() == name:
                field.setAccessible(True)
                return field
        kind = kind.getSuperclass()
    raise EngineUnavailable(f"Spark's {owner.getClass().getName()} has no field {name}: is the Spark version not the locked one?", engine="spark")
