"""`python -m cryptoviz.cli.cluster_node head | worker HEAD | wait | stop`: Ray on this machine as a node of the cluster of `ray up cluster.yaml`.

HEAD is the head's address; `wait`, on the head, returns when all workers have joined. The node's processes are one tree with a record, log and lock
of their own in `~/.cv`, so that a second start changes nothing and a stop ends this node only: `ray stop` would end every Ray process of the user.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryptoviz.cli.cluster import NO_METRICS, RayStart, ray_variables, spark_secret, start_ray, stop_ray
from cryptoviz.cluster_record import read_record
from cryptoviz.errors import CryptoVizError, PreflightError
from cryptoviz.local.home import LOCK, MARKER
from cryptoviz.local.home_lock import HomeLock
from cryptoviz.local.ownership import make_private
from cryptoviz.local.private import require_own_file
from cryptoviz.placement import check_labels
from cryptoviz.settings import CLUSTER_VARIABLE, LOOPBACK, SPARK_SECRET_VARIABLE, Settings, host_port, load_settings

__all__ = ["NODE_HOME", "end_node", "main", "node_environment", "read_bootstrap", "start_node", "stop_node", "wait_for_workers"]

NODE_HOME = Path("~/.cv")
"""Home of the node, and folder of Ray and of `TMPDIR`: private, the same on every node, and short, as Ray's socket paths end at 107 characters."""
_TOKEN = Path("~/.ray/auth_token")
"""Where `ray up` and Ray's own commands look for the token."""
_BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")
_KEPT = frozenset({MARKER, LOCK, "credentials.json", "logs", "ray", "run"})
_LOST_NODE = {"RAY_health_check_period_ms": "2000", "RAY_health_check_timeout_ms": "5000", "RAY_health_check_failure_threshold": "4"}
"""The head gives a node up after four checks without an answer, which takes 28 s. With Ray's values (3 s, 10 s, five checks) it takes 65 s and more,
in which nothing of that node is replaced. The processes of a node that only seemed lost end, and Ray's autoscaler starts it again."""
_SLOW_NAME_S = 1.0
_OTHERS_S = 60.0


def start_node(head: str = "") -> bool:
    """Start Ray as a worker of `head`, or as the head itself. False if this node runs already.

    Raises:
        PreflightError: the token is missing, the head has no address that this machine reaches, or another command is starting this node.
        EngineUnavailable: Ray did not start.
    """
    settings = _node_settings(_own_address(head or read_bootstrap()["provider"]["head_ip"]))
    make_private(settings.home)
    with HomeLock(settings.home, "the start of this node"):
        if read_record(settings.home) is not None:
            return False
        _warn_of_slow_names()
        _remove_leftovers(settings.home)
        start_ray(settings, prepare=lambda of: RayStart(_command(of, head), node_environment(of)))
    return True


def stop_node() -> bool:
    """Stop the pipeline of this node, the cluster's other nodes if this is the head, and this node. False if it did not run."""
    settings = _node_settings()
    record = read_record(settings.home)
    if record is None:
        return False
    for command in ([str(Path(sys.executable).with_name("cryptoviz")), "down", "--yes"], _of_all_nodes("stop-others")):
        try:
            subprocess.run(command, env=node_environment(settings), timeout=_OTHERS_S, check=False)
        except subprocess.TimeoutExpired:
            print(f"`{' '.join(command)}` did not end within {_OTHERS_S:.0f} s", file=sys.stderr)
    return stop_ray(settings, record)


def wait_for_workers() -> int:
    """Wait until all workers have joined. The exit code of `control.cluster_nodes`, which names those that have not."""
    return subprocess.run(_of_all_nodes("wait"), env=node_environment(_node_settings()), check=False).returncode


def _of_all_nodes(command: str) -> list[str]:
    return [sys.executable, "-m", "control.cluster_nodes", command]


def end_node() -> None:
    """Ask this node's processes to end, and do not wait: the caller is one of them."""
    record = read_record(NODE_HOME.expanduser())
    if record is not None:
        record.process.send(signal.SIGTERM)


def node_environment(settings: Settings) -> dict[str, str]:
    """Environment of Ray's processes on a node. Ray starts Spark's processes, so Java is on its PATH and Spark's shared secret among its variables.

    Raises:
        PreflightError: the cluster's token is not there.
    """
    token = _TOKEN.expanduser()
    if not token.is_file():
        raise PreflightError(f"{token} is missing: generate it with `ray get-auth-token --generate` and run `ray up` again", problems=["token"])
    require_own_file(token, "auth_token")
    return (
        ray_variables()
        | NO_METRICS
        | _LOST_NODE
        | {
            CLUSTER_VARIABLE: str(settings.home),
            "TMPDIR": str(settings.home),
            "AUTOSCALER_METRIC_PORT": "-1",
            # The second version of Ray's autoscaler never finds the head of a local cluster running, and then starts one worker at most.
            "RAY_enable_autoscaler_v2": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            SPARK_SECRET_VARIABLE: spark_secret(token.read_text(encoding="utf-8").strip()),
        }
    )


def read_bootstrap() -> dict[str, Any]:
    """The configuration that `ray up` has copied to the head.

    Raises:
        PreflightError: it is not there: this machine is not a head.
    """
    try:
        found: dict[str, Any] = json.loads(_BOOTSTRAP.expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PreflightError(f"{_BOOTSTRAP}, which `ray up` writes on the head, cannot be read: {error}", problems=["ray up"]) from None
    return found


def _node_settings(ip: str = LOOPBACK) -> Settings:
    return load_settings(home=NODE_HOME.expanduser(), ray={"node_ip": ip, "address": ""})


def _command(settings: Settings, head: str) -> list[str]:
    ray = settings.ray
    role = (
        [
            "--head", f"--port={ray.gcs_port}", f"--temp-dir={settings.home / 'ray'}", "--include-dashboard=true", "--dashboard-host=127.0.0.1",
            f"--dashboard-port={ray.dashboard_port}", f"--autoscaling-config={_BOOTSTRAP.expanduser()}",
        ]
        if not head
        else [f"--address={host_port(head, ray.gcs_port)}"]
    )  # fmt: skip
    cpus = [f"--num-cpus={ray.num_cpus}"] if ray.num_cpus else []
    labels = ",".join(filter(None, (_host_label(), ray.labels)))
    return [
        sys.executable, "-m", "control.ray_head", "start", "--block", "--disable-usage-stats", f"--node-ip-address={ray.node_ip}", *role, *cpus,
        *([f"--labels={labels}"] if labels else []),
        f"--object-store-memory={ray.object_store_bytes}", "--include-log-monitor=false", "--dashboard-agent-listen-port=0",
    ]  # fmt: skip


def _host_label() -> str:
    """The label with this machine's name; empty if the name is no value of a label."""
    try:
        return check_labels(f"host={socket.gethostname()}")
    except ValueError:
        return ""


def _own_address(head: str) -> str:
    """The address of this machine in the network of the head; on the head, the head's. Raises PreflightError."""
    try:
        found = socket.getaddrinfo(head, 9, type=socket.SOCK_DGRAM)
        family, kind, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # sends nothing
            return str(probe.getsockname()[0])
    except OSError as error:
        raise PreflightError(f"this machine has no route to the head {head} (head_ip in cluster.yaml): {error}", problems=["head_ip"]) from None


def _remove_leftovers(home: Path) -> None:
    """Remove what Ray, Spark and Java of earlier starts have left, apart from the last session of Ray, for its logs. Nothing of the node runs."""
    for path in home.iterdir():
        if path.name not in _KEPT:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    for session in sorted((home / "ray").glob("session_2*"))[:-1]:
        shutil.rmtree(session, ignore_errors=True)


def _warn_of_slow_names() -> None:
    begun = time.monotonic()
    name = socket.gethostname()
    try:
        socket.gethostbyname(name)
        how = ""
    except OSError as error:
        how = f" and failed ({error})"
    took_s = time.monotonic() - begun
    if took_s > _SLOW_NAME_S:
        text = f"the look-up of this machine's own name {name} took {took_s:.1f} s{how}, and Ray looks it up while it starts: enter it in /etc/hosts"
        print(text, file=sys.stderr)


def main(arguments: Iterable[str] | None = None) -> int:
    """Exit code 1 with a message on standard error if Ray does not start."""
    command, *given = sys.argv[1:] if arguments is None else arguments
    try:
        if command == "wait":
            return wait_for_workers()
        if command == "stop":
            print("Stopped." if stop_node() else "Not running.")
        else:
            print("Ray started." if start_node(*given) else "Ray runs already.")
    except CryptoVizError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
