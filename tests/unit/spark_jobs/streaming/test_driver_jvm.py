"""Errors of the start of the driver's JVM, and its end with this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from cryptoviz.errors import EngineUnavailable
from spark_jobs.streaming.cluster import DriverCluster
from spark_jobs.streaming.driver_jvm import JvmStart, launch_driver
from tests.support.ports import free_port
from tests.support.waiting import eventually

CONFIGS = {"spark.driver.extraJavaOptions": "", "spark.driver.memory": "64m"}
GATEWAY = f"""#!{sys.executable} -IS
import os, struct
place = os.environ["_PYSPARK_DRIVER_CONN_INFO_PATH"]
open(place + ".new", "wb").write(struct.pack("!ii", {{port}}, 5) + b"token")
os.rename(place + ".new", place)
os._exit(4)
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SPARK_LOCAL_IP", "PYSPARK_PYTHON"):  # a launch sets them
        monkeypatch.setenv(name, "")


def program(tmp_path: Path, text: str) -> Path:
    java = tmp_path / "java"
    java.write_text(text)
    java.chmod(0o700)
    return java


def test_a_jvm_that_ends_at_once_is_reported_with_its_code(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="the JVM of Spark's driver has ended with code 3 at its start"):
        launch_driver(program(tmp_path, "#!/bin/sh\nexit 3\n"), "a.jar", CONFIGS)


def test_a_jvm_that_ends_with_its_gateway_is_reported_with_its_code(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="the JVM of Spark's driver has ended with code 4 at its start"):
        launch_driver(program(tmp_path, GATEWAY.format(port=free_port())), "a.jar", CONFIGS)


def test_a_jvm_that_hangs_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """It does not read the end of its standard input, as during a shutdown that hangs."""
    started = tmp_path / "pid"
    java = program(tmp_path, f"#!/bin/sh\necho $$ > {started}.new\nmv {started}.new {started}\nexec sleep 1000\n")
    code = f"""
from pathlib import Path
from spark_jobs.streaming.cluster import DriverCluster
from spark_jobs.streaming.driver_jvm import launch_driver
launch_driver(Path({str(java)!r}), "a.jar", {CONFIGS!r})
"""
    with subprocess.Popen([sys.executable, "-c", code]) as host:
        eventually(started.exists)
        host.send_signal(signal.SIGKILL)
    pid = int(started.read_text())
    try:
        eventually(lambda: not psutil.pid_exists(pid))
    finally:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("before", [True, False], ids=["before it", "during it"])
def test_a_start_that_is_abandoned_ends_its_jvm_at_once(tmp_path: Path, before: bool) -> None:
    started, start = tmp_path / "pid", JvmStart()
    java = program(tmp_path, f"#!/bin/sh\necho $$ > {started}.new\nmv {started}.new {started}\nexec sleep 1000\n")
    if before:
        start.abandon()
    with ThreadPoolExecutor(1) as pool:
        launched = pool.submit(launch_driver, java, "a.jar", CONFIGS, start=start)
        if not before:
            eventually(started.exists)
        start.abandon()
        with pytest.raises(EngineUnavailable, match="the JVM of Spark's driver has ended with code -9 at its start"):
            launched.result(240)


def test_a_jvm_that_ended_while_the_job_waited_for_the_engines_is_reported_with_its_code() -> None:
    cluster = DriverCluster.__new__(DriverCluster)
    with subprocess.Popen(["/bin/sh", "-c", "exit 7"]) as cluster._process:
        pass
    with pytest.raises(EngineUnavailable, match="has ended with code 7 before the job started"):
        cluster.check()
