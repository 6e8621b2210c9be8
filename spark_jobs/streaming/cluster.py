"""Spark on Ray (RayDP) in two JVMs: the driver with the application master, and the executor.

RayDP starts three more processes for its application master: a Ray actor in Python, the JVM of that actor, and a Java worker of Ray. The master needs
only Ray's Java API, so it runs in the driver's JVM here ([ADR 19](docs/adr/0019-application-master-in-the-drivers-jvm.md)).
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from py4j.protocol import Py4JError
from pyspark import SparkConf
from pyspark.sql import SparkSession

from cryptoviz.errors import EngineUnavailable
from spark_jobs.streaming.driver_jvm import JvmStart, end_driver, launch_driver
from spark_jobs.streaming.gateways import SECRET_OPTION, secure_callback_server, share_application_id, spark_secret

# RayDP's packages import Ray's data sets and pandas, for conversions that nothing uses: a second of each start, and 60 MB.
for _package in ("raydp", "raydp.spark"):
    _spec = importlib.util.find_spec(_package)
    if _spec is not None and _package not in sys.modules:
        sys.modules[_package] = importlib.util.module_from_spec(_spec)
raydp_master: Any = importlib.import_module("raydp.spark.ray_cluster_master")
SparkCluster: Any = importlib.import_module("raydp.spark.ray_cluster").SparkCluster

__all__ = ["DriverCluster", "ray_java_options"]


class DriverCluster(SparkCluster):  # type: ignore[misc]
    """RayDP's cluster with its application master in the driver's JVM. One per process at a time, since PySpark has one JVM.

    Args:
        name: application name, and the Ray namespace of the executors; unique, because Ray frees the names of a predecessor's actors late.
        executors, cores, memory_mb: number and size of the executors.
        java: the program of the driver's JVM.
        jars: class path of driver and executors.
        configs: Spark's options, without a secret.
        start: gets the process of the JVM.
    """

    _spark_session: Any

    def __init__(
        self, name: str, executors: int, cores: int, memory_mb: int, java: Path, jars: str, configs: dict[str, str], start: JvmStart
    ) -> None:
        self._java, self._jars, self._start = java, jars, start
        super().__init__(name, executors, cores, f"{memory_mb}m", enable_hive=False, configs=dict(configs))

    def _set_up_master(self, resources: dict[str, float], kwargs: dict[Any, Any] | None) -> None:
        """Called by RayDP's constructor: start the JVM and the application master in it."""
        del resources, kwargs
        del self._configs["spark.driver.extraClassPath"]  # RayDP's, for PySpark's start script
        # The process list shows the command, so the secret is set after the JVM has started.
        gateway = launch_driver(self._java, self._jars, self._configs | {"spark.master": "ray", "spark.app.name": self._app_name}, start=self._start)
        self._process: subprocess.Popen[bytes] = gateway.proc
        secure_callback_server(gateway)
        master = raydp_master.RayDPSparkMaster.__ray_metadata__.modified_class(self._configs)
        node: Any = ray._private.worker._global_node
        # Ray's driver would otherwise unpack this library into /tmp/ray and load it from there.
        gateway.jvm.io.ray.runtime.util.JniUtils.loadLibrary(node.get_session_dir_path(), "core_worker_library_java", True)
        properties = json.loads(master._generate_ray_configs()) | {"ray.job.namespace": self._app_name}
        raydp_jvm = gateway.jvm.org.apache.spark.deploy.raydp
        raydp_jvm.RayAppMaster.setProperties(json.dumps(properties))
        gateway.jvm.io.ray.api.Ray.init()
        self._spark_master_handle = raydp_jvm.RayAppMaster(self._jars)

    def get_cluster_url(self) -> str:
        return str(self._spark_master_handle.getMasterUrl())

    def get_spark_session(self) -> Any:
        """The session, started at the first call."""
        if self._spark_session is None:
            conf = SparkConf(loadDefaults=False).setAll(list(self._configs.items())).setAppName(self._app_name).setMaster(self.get_cluster_url())
            builder = SparkSession.builder.config(conf=conf).config(SECRET_OPTION, spark_secret())
            self._spark_session = builder.getOrCreate()
            share_application_id(self._spark_session)
        return self._spark_session

    def watch(self, ended: Callable[[str], None]) -> None:
        """Call `ended` with a reason, in a thread, once the driver's JVM has ended, also by `stop`."""

        def wait() -> None:
            code = self._process.wait()
            ended(f"Spark's driver (process {self._process.pid}) has ended with code {code}")

        threading.Thread(target=wait, name="spark-driver-watch", daemon=True).start()

    def check(self) -> None:
        """Raise EngineUnavailable if the driver's JVM has ended, as it may between `LakeJob.prepare` and `start`."""
        if not self.alive:
            raise EngineUnavailable(
                f"the JVM of Spark's driver has ended with code {self._process.returncode} before the job started", engine="spark"
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def abort(self) -> None:
        """End the JVM at once, from any thread; `stop` is still to be called."""
        self._process.kill()
        self._process.wait()

    def kill(self) -> None:
        """End the JVM without stopping Spark first. Ray ends the executors of a driver that has ended."""
        self._process.kill()
        end_driver()

    def stop(self, cleanup_data: bool = True) -> None:
        """Stop Spark, then end the JVM and forget it, so that this process can start another. Works with a dead JVM too."""
        del cleanup_data
        if self.alive:
            with contextlib.suppress(Py4JError, OSError):  # it may end meanwhile
                if self._spark_session is not None:
                    self._spark_session.stop()
                self._spark_master_handle.stop()
        end_driver()


def ray_java_options() -> list[str]:
    """Options that keep native code and logs of Ray's Java library in the session folder instead of /tmp/ray, which any user may have created."""
    node: Any = ray._private.worker._global_node
    return [f"-Dray.session-dir={node.get_session_dir_path()}", f"-Dray.logging.dir={node.get_logs_dir_path()}"]
