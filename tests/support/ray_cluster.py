"""A test's own Ray cluster, started in a separate process, as the pipeline does.

`ray.init(address="local")` would fork it from the test process, which has many threads of native libraries; such a cluster did not always start.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from cryptoviz.cli.cluster import ControllerLaunch
from cryptoviz.cluster_record import settings_file
from cryptoviz.settings import SETTINGS_FILE_VARIABLE, SPARK_SECRET_VARIABLE, Settings, dump_settings_file
from tests.support.ports import free_ports
from tests.support.waiting import eventually

NODE = "127.0.0.2"


@contextlib.contextmanager
def ray_on(num_cpus: int, namespace: str, object_store_bytes: int = 128 << 20) -> Iterator[Any]:
    """Ray, connected to a one-node cluster with this number of CPUs; both end with the context."""
    import ray

    temp = Path(tempfile.mkdtemp(prefix="cvt-"))
    gcs, client = free_ports(2)
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats", f"--node-ip-address={NODE}",
        f"--port={gcs}", f"--ray-client-server-port={client}", "--min-worker-port=0", "--max-worker-port=0",
        "--include-dashboard=false", "--dashboard-agent-listen-port=0",
        f"--temp-dir={temp}", f"--object-store-memory={object_store_bytes}", f"--num-cpus={num_cpus}", "--include-log-monitor=false", "--no-monitor",
    ]  # fmt: skip
    log = temp / "start.log"
    # A driver in this process has no token; the cluster listens on loopback and ends with the test.
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", SPARK_SECRET_VARIABLE: "secret-of-a-test-cluster"}
    for _ in range(3):  # Ray gives a node 30 s, which a busy machine may need for the first start of an environment
        head = _start(command, environment, log)
        if head.poll() is None:
            break
    try:
        assert head.poll() is None, log.read_text()
        ray.init(address=f"{NODE}:{gcs}", namespace=namespace, log_to_driver=False, configure_logging=False)
        try:
            yield ray
        finally:
            ray.shutdown()
    finally:
        _end(head)
        shutil.rmtree(temp, ignore_errors=True)


def start_cluster(settings: Settings) -> None:
    """The cluster of a pipeline, from a separate process, like `cryptoviz up --detach`: it outlives that process."""
    dump_settings_file(settings, settings_file(settings))
    code = "import cryptoviz.cli.cluster as c, cryptoviz.settings as s; c.start_ray(s.settings_from_environment())"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {SETTINGS_FILE_VARIABLE: str(settings_file(settings))}, timeout=300, check=True)


def launch_controller(settings: Settings) -> None:
    """Create the controller actor in a running cluster; its gRPC service answers on return."""
    with ControllerLaunch(settings) as launch:
        launch.finish()


@contextlib.contextmanager
def ray_node(ray: Any, address: str, num_cpus: int, labels: str = "") -> Iterator[Callable[[], None]]:
    """One more node of the cluster of `ray_on`, at another loopback address. Yields a function that kills the node with all of its processes."""
    temp = Path(tempfile.mkdtemp(prefix="cvt-"))
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--block", f"--address={ray.get_runtime_context().gcs_address}", "--disable-usage-stats",
        f"--node-ip-address={address}", "--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0",
        "--include-log-monitor=false", f"--object-store-memory={80 << 20}", f"--num-cpus={num_cpus}", *([f"--labels={labels}"] if labels else []),
    ]  # fmt: skip
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", SPARK_SECRET_VARIABLE: "secret-of-a-test-cluster"}
    for _ in range(3):
        node = _start(command, environment, temp / "start.log")
        if node.poll() is None:
            break
    try:
        assert node.poll() is None, (temp / "start.log").read_text()
        eventually(lambda: any(one["NodeManagerAddress"] == address and one["Alive"] for one in ray.nodes()))
        yield lambda: _kill(node)
    finally:
        _end(node)
        shutil.rmtree(temp, ignore_errors=True)


def _kill(node: subprocess.Popen[bytes]) -> None:
    family = psutil.Process(node.pid).children(recursive=True)
    for process in [psutil.Process(node.pid), *family]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    node.wait(60)
    psutil.wait_procs(family, timeout=5)


def _start(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """The process, once it runs or has ended. It is ended if it does neither in time."""
    with log.open("wb") as output:
        head = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        eventually(lambda: b"Ray runtime started" in log.read_bytes() or head.poll() is not None, 120, 0.1)
    except AssertionError:
        _end(head)  # else it would outlive the test
    return head


def _end(head: subprocess.Popen[bytes]) -> None:
    family = psutil.Process(head.pid).children(recursive=True) if head.poll() is None else []
    head.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        head.wait(10)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    head.kill()
    head.wait(60)
    psutil.wait_procs(family, timeout=5)
