"""Authentication for RayDP and PySpark: Py4J gateways require a token, Spark's own connections a shared secret.

Without this, RayDP 1.6 opens the gateway of its application master, and PySpark 3.5 its callback server, without a token: any user of the machine
could run Java code as the owner of the pipeline.
"""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from collections import deque
from pathlib import Path
from typing import Any

import ray
import raydp.context
import raydp.spark.ray_cluster_master as raydp_master
from py4j.java_gateway import GatewayParameters, JavaGateway, JavaObject, launch_gateway
from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import ensure_callback_server_started
from pyspark.sql import SparkSession
from raydp import versions
from raydp.spark.ray_cluster import SparkCluster

from cryptoviz.errors import EngineUnavailable, PreflightError
from cryptoviz.settings import SPARK_SECRET_VARIABLE

__all__ = ["AUTHENTICATION", "ray_java_options", "secure_callback_server", "secure_gateways", "spark_secret"]

AUTHENTICATION = {
    "spark.authenticate": "true",
    "spark.network.crypto.enabled": "true",
    "spark.network.crypto.saslFallback": "false",
}
"""Spark's RPC and block transfer: authenticated by the secret, and encrypted. The secret is never an argument or part of Ray's configuration."""

_SECRET_OPTION = "spark.authenticate.secret"  # noqa: S105 (the name of an option)
_LAST_LINES = 200


def secure_gateways() -> None:
    """Make `raydp.init_spark` of this process use authenticated gateways."""
    raydp.context.SparkCluster = _SecuredCluster


def ray_java_options() -> list[str]:
    """Options that keep native code and logs of Ray's Java library in the session folder instead of /tmp/ray, which any user may have created."""
    node: Any = ray._private.worker._global_node
    return [f"-Dray.session-dir={node.get_session_dir_path()}", f"-Dray.logging.dir={node.get_logs_dir_path()}"]


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


def _share_application_id(session: Any) -> None:
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


class _SecuredCluster(SparkCluster):  # type: ignore[misc]
    """RayDP's cluster with an authenticated master. The driver receives the secret over its gateway."""

    _spark_session: Any

    def _set_up_master(self, resources: dict[str, float], kwargs: dict[Any, Any] | None) -> None:
        del kwargs
        name = self._app_name + raydp_master.RAYDP_SPARK_MASTER_SUFFIX
        self._spark_master_handle = _SecuredMaster.options(name=name, num_cpus=resources.get("CPU", 0)).remote(self._configs)
        ray.get(self._spark_master_handle.start_up.remote())

    def get_spark_session(self) -> Any:
        if self._spark_session is None:
            conf = SparkConf(loadDefaults=False)
            for key, value in self._configs.items():
                conf.set(key, value)
            conf.setAppName(self._app_name).setMaster(self.get_cluster_url())
            # JVM options show in the process list, so the secret is set after the JVM has started.
            SparkContext._ensure_initialized(conf=conf)
            secure_callback_server(SparkContext._gateway)
            builder = SparkSession.builder.config(conf=conf).config(_SECRET_OPTION, spark_secret())
            self._spark_session = builder.getOrCreate()
            _share_application_id(self._spark_session)
        return self._spark_session


class _Master(raydp_master.RayDPSparkMaster.__ray_metadata__.modified_class):  # type: ignore[misc]
    """RayDP's master, with Py4J's own entry point, which creates a token, instead of RayDP's, which does not."""

    def _launch_gateway(self, class_path: str, popen_kwargs: Any = None) -> Any:
        del popen_kwargs
        configs = self._configs
        port, token, process = launch_gateway(
            jarpath=str(next(Path(self._spark_home, "jars").glob("py4j-*.jar"))),
            classpath=class_path,
            javaopts=[
                *shlex.split(configs.get(raydp_master.RAYDP_APPMASTER_EXTRA_JAVA_OPTIONS, "")),
                f"-javaagent:{configs[raydp_master.SPARK_JAVAAGENT]}",
                *ray_java_options(),
                f"-D{raydp_master.SPARK_RAY_LOG4J_FACTORY_CLASS_KEY}={configs[raydp_master.SPARK_RAY_LOG4J_FACTORY_CLASS_KEY]}",
                f"-D{versions.RAY_LOG4J_CONFIG_FILE_NAME_KEY}={configs[raydp_master.RAY_LOG4J_CONFIG_FILE_NAME]}",
            ],
            die_on_exit=True,
            redirect_stdout=deque(maxlen=_LAST_LINES),
            redirect_stderr=sys.stderr,
            create_new_process_group=True,
            enable_auth=True,
            return_proc=True,
        )
        gateway = JavaGateway(gateway_parameters=GatewayParameters(port=port, auth_token=token, auto_convert=True))
        # Ray's driver would otherwise unpack this library into /tmp/ray and load it from there.
        node: Any = ray._private.worker._global_node
        gateway.jvm.io.ray.runtime.util.JniUtils.loadLibrary(node.get_session_dir_path(), "core_worker_library_java", True)
        gateway.entry_point = gateway.jvm.org.apache.spark.deploy.raydp.AppMasterEntryPoint()
        gateway.proc = process
        return gateway


_SecuredMaster = ray.remote(_Master)
