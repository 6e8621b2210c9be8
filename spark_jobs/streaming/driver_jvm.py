"""The JVM of Spark's driver: command, connection and end.

PySpark starts it by a shell script, which first starts another JVM to print the command, and runs a `spark-env.sh` from a folder of the environment.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyspark
from py4j.clientserver import ClientServer, JavaParameters, PythonParameters
from py4j.java_gateway import java_import
from py4j.protocol import Py4JError
from pyspark import SparkContext
from pyspark.serializers import UTF8Deserializer, read_int
from pyspark.sql import SparkSession, SQLContext

from cryptoviz.engines.process import spawn_bound
from cryptoviz.errors import EngineUnavailable
from cryptoviz.settings import child_environment

__all__ = ["JvmStart", "end_driver", "launch_driver"]

_START_S = 60.0
_END_S = 3.0
_POLL_S = 0.02
_IMPORTS = (
    "org.apache.spark.SparkConf", "org.apache.spark.api.java.*", "org.apache.spark.api.python.*", "org.apache.spark.ml.python.*",
    "org.apache.spark.mllib.api.python.*", "org.apache.spark.resource.*", "org.apache.spark.sql.*", "org.apache.spark.sql.api.python.*",
    "org.apache.spark.sql.hive.*", "scala.Tuple2",
)  # fmt: skip
"""What PySpark imports into the gateway that it starts itself (`pyspark.java_gateway.launch_gateway`, 3.5)."""


class JvmStart:
    """The start of one JVM, which another thread can abandon, also before there is a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._abandoned = False

    def has(self, process: subprocess.Popen[bytes]) -> None:
        """The start has its process."""
        with self._lock:
            self._process = process
            if self._abandoned:
                process.kill()

    def abandon(self) -> None:
        """Kill the JVM, so that what waits for it raises EngineUnavailable."""
        with self._lock:
            self._abandoned = True
            if self._process is not None:
                self._process.kill()


def launch_driver(java: Path, jars: str, configs: Mapping[str, str], *, output: int | None = None, start: JvmStart | None = None) -> Any:
    """Start the JVM for PySpark and return its gateway, with the process in `proc`. The JVM ends when its standard input is closed. It is killed when
    this process ends.

    Args:
        java: the program.
        jars: class path.
        configs: Spark's options, with `spark.driver.extraJavaOptions` and `spark.driver.memory` for the JVM; they show in the process list.
        output: of the JVM, as `subprocess.Popen` takes it; that of this process by default.
        start: gets the process.

    Raises:
        EngineUnavailable: the JVM has ended, or opened no gateway within a minute. It is killed then.
    """
    options = [part for key, value in configs.items() for part in ("--conf", f"{key}={value}")]
    java_options = [*shlex.split(configs["spark.driver.extraJavaOptions"]), f"-Xmx{configs['spark.driver.memory']}"]
    # Spark reads these two from the environment only: the address of its UI and the interpreter of the executors' workers.
    os.environ.update(SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable)
    command = [str(java), *java_options, "-cp", jars, "org.apache.spark.deploy.SparkSubmit", *options, "pyspark-shell"]
    with tempfile.TemporaryDirectory(prefix="cv-spark-") as folder:
        connection = Path(folder) / "connection"
        environment = child_environment(
            {"_PYSPARK_DRIVER_CONN_INFO_PATH": str(connection), "SPARK_HOME": str(Path(pyspark.__file__ or "").parent)}, minimal=False
        )
        # Its own process group, so that Ctrl-C in a terminal does not reach it.
        process = spawn_bound(command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment, process_group=0)
        if start is not None:
            start.has(process)
        try:
            gateway = _gateway(process, connection)
        except (Py4JError, OSError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.0 if isinstance(error, TimeoutError) else _END_S)
            code = process.returncode
            with process:  # closes the pipe
                process.kill()
            found = f"has ended with code {code} at its start" if code is not None else f"opened no gateway within {_START_S:.0f} s"
            raise EngineUnavailable(f"the JVM of Spark's driver {found}", engine="spark") from error
    SparkContext._ensure_initialized(gateway=gateway)
    return gateway


def _gateway(process: subprocess.Popen[bytes], connection: Path) -> Any:
    """The gateway that the JVM opens. Raises TimeoutError if it does not; Py4JError, OSError if it does not answer there."""
    deadline = time.monotonic() + _START_S
    while not connection.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(_POLL_S)
    with connection.open("rb") as content:
        port, token = read_int(content), UTF8Deserializer().loads(content)
    gateway: Any = ClientServer(
        java_parameters=JavaParameters(port=port, auth_token=token, auto_convert=True), python_parameters=PythonParameters(port=0, eager_load=False)
    )
    gateway.proc = process
    for name in _IMPORTS:
        java_import(gateway.jvm, name)
    return gateway


def end_driver(grace_s: float = _END_S) -> None:
    """End the JVM of this process, if any, killing it after `grace_s`, and clear what PySpark keeps of it in class attributes."""
    gateway: Any = SparkContext._gateway
    context: Any = SparkContext._active_spark_context
    if context is not None and getattr(context, "_accumulatorServer", None) is not None:
        context._accumulatorServer.shutdown()
        context._accumulatorServer = None
    SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None
    SparkSession._instantiatedSession = SparkSession._activeSession = None
    SQLContext._instantiatedContext = None
    SparkSession.builder._options.clear()
    if gateway is None:
        return
    process: subprocess.Popen[bytes] = gateway.proc
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()  # the JVM ends at the end of its standard input
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    gateway.shutdown()  # after the JVM's end, since it would wait for an answer of a JVM that hangs
