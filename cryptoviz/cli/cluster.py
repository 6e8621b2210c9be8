"""The Ray cluster that `up` and `demo` start for themselves: one process tree of ours, ended as one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from cryptoviz.cli.leash import Leash
from cryptoviz.engines.java import java_home
from cryptoviz.engines.process import bound_to_parent, tail
from cryptoviz.engines.ray_folder import make_ray_folder, ray_folder, ray_temp_dir, remove_ray_folder, scratch_dir
from cryptoviz.errors import EngineUnavailable, PreflightError
from cryptoviz.home import require_own_home
from cryptoviz.home_lock import HomeLock
from cryptoviz.log_rotation import ROTATE_BYTES
from cryptoviz.ownership import make_private
from cryptoviz.private import OTHERS, ensure_token, require_own_file, write_private
from cryptoviz.process_identity import ProcessIdentity, descendants, processes_with, wait_ended
from cryptoviz.settings import (
    LOOPBACK,
    SETTINGS_FILE_VARIABLE,
    SPARK_SECRET_VARIABLE,
    Settings,
    child_environment,
    claim_home,
    dump_settings_file,
    host_port,
)

__all__ = ["ClusterRecord", "end_leftovers", "forget_cluster", "launch_controller", "read_record", "settings_file", "start_ray", "stop_ray"]

_CLUSTER_VARIABLE = "CRYPTOVIZ_CLUSTER"
"""In the environment of every process of Ray's: the home that it belongs to."""
_START_TIMEOUT_S = 60.0
_START_ATTEMPTS = 3
_STARTED, _TOO_SLOW = b"Ray runtime started", b"timed out during startup"
_STOP_TIMEOUT_S = 12.0  # the guard's own grace, and the time it has to kill
_LAUNCH_TIMEOUT_S = 90.0
_LEFTOVER_ROUNDS = 3  # a process may start another while it is looked for
# Only so that Python does not warn of a child that nobody waited for: it is ended by its record, also from another process.
_started: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """What `down` needs to end the cluster of an earlier `up`: its root process and its address."""

    process: ProcessIdentity
    address: str

    @property
    def pid(self) -> int:
        """Process id of the root."""
        return self.process.pid


def settings_file(settings: Settings) -> Path:
    """Where a running pipeline keeps the settings it was started with (mode 0600)."""
    return settings.run_dir / "settings.json"


def _record_file(settings: Settings) -> Path:
    return settings.run_dir / "cluster.json"


def read_record(settings: Settings) -> ClusterRecord | None:
    """The record of a cluster under this home that is still running.

    Raises:
        SettingsError: another user could have written it. Who believes it ends the process that it names.
    """
    require_own_home(settings.home)
    try:
        content = orjson.loads(_record_file(settings).read_bytes())
        record = ClusterRecord(ProcessIdentity(**content["process"]), content["address"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return record if record.process.is_alive else None


def start_ray(settings: Settings, leash: Leash | None = None) -> ClusterRecord:
    """Start a one-node cluster below a guard, in a session of its own, and wait until it takes work. Its log is `ray.log`.

    With a leash it ends when this process does; without it runs until `stop_ray`.

    Raises:
        EngineUnavailable: it ended or did not come up; the message holds the end of its log.
        PreflightError: no Java 17 for Spark.
    """
    claim_home(settings)
    make_private(settings.run_dir)
    make_private(settings.log_dir)
    dump_settings_file(settings, settings_file(settings))
    for _ in range(_START_ATTEMPTS - 1):
        with contextlib.suppress(_RayTooSlow):
            return _start_once(settings, leash)
    return _start_once(settings, leash)


class _RayTooSlow(EngineUnavailable):
    """The node was not up within Ray's own 30 s, which no option changes. A second start finds the files of the first in memory."""


def _start_once(settings: Settings, leash: Leash | None) -> ClusterRecord:
    log_file = settings.log_dir / "ray.log"
    end_leftovers(settings)
    folder = make_ray_folder(settings)
    inherited = leash.inherited if leash else ()
    guard = [sys.executable, "-m", "cryptoviz.cluster_guard", str(inherited[0] if inherited else -1), str(log_file), "--"]
    os.close(os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [*guard, *_ray_command(settings, folder)], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=_environment(settings),
            start_new_session=True, pass_fds=inherited, umask=OTHERS,
        )  # fmt: skip
    _started.append(process)
    if leash is not None:
        leash.tie(process)
    record = ClusterRecord(ProcessIdentity.of(process.pid), host_port(settings.ray.node_ip, settings.ray.gcs_port))
    write_private(_record_file(settings), orjson.dumps(asdict(record)).decode())
    deadline = time.monotonic() + _START_TIMEOUT_S
    while _STARTED not in log_file.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            message = f"Ray did not start ({log_file}):\n{tail(log_file, 12)}"
            too_slow = _TOO_SLOW in log_file.read_bytes()
            stop_ray(settings, record)
            raise (_RayTooSlow if too_slow else EngineUnavailable)(message, engine="ray", address=record.address)
        time.sleep(0.1)
    return record


def launch_controller(settings: Settings) -> None:
    """Make the controller actor in the cluster and return when its gRPC service answers.

    Raises:
        EngineUnavailable: it did not start; the message is its own.
    """
    address = settings.ray.address or host_port(settings.ray.node_ip, settings.ray.gcs_port)
    dump_settings_file(settings, settings_file(settings))
    command = bound_to_parent([sys.executable, "-m", "control", "--address", address])
    try:
        done = subprocess.run(command, env=_environment(settings), capture_output=True, text=True, timeout=_LAUNCH_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise EngineUnavailable(f"the controller did not answer within {_LAUNCH_TIMEOUT_S:.0f} s", engine="control", address=address) from None
    if done.returncode != 0:
        reason = "\n".join(done.stderr.strip().splitlines()[-12:])
        raise EngineUnavailable(f"the controller did not start: {reason}", engine="control", address=settings.control.address)


def stop_ray(settings: Settings, record: ClusterRecord | None = None) -> bool:
    """End a cluster of this home, the one of the record: politely, then by force. False when none runs. Never touches another Ray of this user."""
    record = record or read_record(settings)
    if record is None:
        _record_file(settings).unlink(missing_ok=True)
        return False
    family = [record.process, *descendants(record.pid)]
    record.process.send(signal.SIGTERM)
    alive = wait_ended(family, _STOP_TIMEOUT_S)
    for process in alive:
        process.send(signal.SIGKILL)
    wait_ended(alive, 3.0)
    # Who holds the home, a foreground command whose cluster this was or one that starts another, sees to what is left.
    with contextlib.suppress(PreflightError), HomeLock(settings.home, "cryptoviz down"):
        forget_cluster(settings)
    return True


def forget_cluster(settings: Settings) -> None:
    """Remove what a cluster that has ended left: stray processes, its record, Ray's folder. The caller holds the home."""
    end_leftovers(settings)
    _record_file(settings).unlink(missing_ok=True)
    remove_ray_folder(settings)


def end_leftovers(settings: Settings) -> int:
    """Kill what a guard that was killed itself has left of this home's clusters, and say how much. The caller holds the home, and none runs."""
    ended = 0
    for _ in range(_LEFTOVER_ROUNDS):
        left = processes_with(_CLUSTER_VARIABLE, str(settings.home))
        for process in left:
            process.send(signal.SIGKILL)
        wait_ended(left, 3.0)
        ended += len(left)
        if not left:
            break
    return ended


def _ray_command(settings: Settings, folder: Path) -> list[str]:
    ray = settings.ray
    cpus = ray.num_cpus or max(settings.lake.executor_cores, os.cpu_count() or 1)
    return [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats",
        f"--node-ip-address={ray.node_ip}", f"--port={ray.gcs_port}", f"--ray-client-server-port={ray.client_port}",
        "--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={ray.dashboard_port}", "--dashboard-agent-listen-port=0",
        # Workers listen where the kernel says: another cluster on this machine never reaches for the same port.
        "--min-worker-port=0", "--max-worker-port=0",
        f"--temp-dir={ray_temp_dir(folder)}", f"--object-store-memory={ray.object_store_bytes}", f"--num-cpus={cpus}",
        # Both would be idle: drivers here print nothing of their workers, and one node does not scale by itself.
        "--include-log-monitor=false", "--no-monitor",
    ]  # fmt: skip


def _environment(settings: Settings) -> dict[str, str]:
    """Ray's processes get the settings by file, and neither the keys nor the names of ours in their environment."""
    home = java_home(settings)
    path = child_environment()["PATH"]
    return child_environment(
        {
            "PATH": f"{home / 'bin'}:{Path(sys.executable).parent}:{path}",
            "JAVA_HOME": str(home),
            # Every JVM and Python below Ray takes names of files for UTF-8, as they are here.
            "LC_ALL": "C.UTF-8",
            SETTINGS_FILE_VARIABLE: str(settings_file(settings)),
            _CLUSTER_VARIABLE: str(settings.home),
            "RAY_DEDUP_LOGS": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            # Of each process; Ray's default is 512 MB.
            "RAY_ROTATION_MAX_BYTES": str(ROTATE_BYTES),
            "RAY_ROTATION_BACKUP_COUNT": "1",
            # glibc gives each thread an arena of its own; two a process cost no time that could be measured here and save memory.
            "MALLOC_ARENA_MAX": "2",
            # And what is freed at the top of one goes back at once instead of past a limit that grows.
            "MALLOC_TRIM_THRESHOLD_": "131072",
            # Detached actors never drain; they are stopped before Ray is.
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            # Idle workers kept ready for tasks, which we never send, would take 60 MB each.
            "RAY_enable_worker_prestart": "0",
            "RAY_prestart_worker_first_driver": "0",
        }
        | _private(settings)
        | _authentication(settings)
    )


def _private(settings: Settings) -> dict[str, str]:
    """What keeps a cluster of our own to this machine and its files to this user."""
    host = settings.ray.address.partition(":")[0] or settings.ray.node_ip
    # Ray's switch for systems where a listener brings up a firewall's question: 127.0.0.1 stays what it is, for node and drivers, and GCS,
    # raylet, workers and agents listen there alone instead of on all interfaces (https://github.com/ray-project/ray/issues/18730).
    alone = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if host in {LOOPBACK, "localhost"} else {}
    if settings.ray.address:
        return alone
    folder = ray_folder(settings)
    temporary = {"TMPDIR": str(scratch_dir(folder))} if folder else {}
    # The ports of Ray's metrics ask for no token. The dashboard has no switch for its own, but goes on without a port that cannot be.
    return temporary | alone | {"RAY_enable_metrics_collection": "0", "DASHBOARD_METRIC_PORT": "-1"}


def _authentication(settings: Settings) -> dict[str, str]:
    """The token of our own cluster; one that was joined has its token where Ray looks by itself, unless it was put beside ours."""
    path = settings.ray_token_file
    if not settings.ray.address:
        token = ensure_token(path, "CRYPTOVIZ_HOME", end="")
    elif os.path.lexists(path):
        # Made by whoever made the cluster, in a form of theirs.
        require_own_file(path, "CRYPTOVIZ_HOME")
        token = path.read_text(encoding="utf-8").strip()
    else:
        return {}
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path), SPARK_SECRET_VARIABLE: _spark_secret(token)}


def _spark_secret(token: str) -> str:
    """The secret between Spark's processes: whoever may run code in the cluster may know it, nobody else."""
    return hashlib.sha256(f"spark:{token}".encode()).hexdigest()
