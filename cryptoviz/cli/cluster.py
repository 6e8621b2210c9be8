"""The Ray cluster that `up` and `demo` start: one process tree, started and stopped as a unit."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptoviz.cli.leash import Leash
from cryptoviz.cluster_record import Access, ClusterRecord, read_record, record_file, settings_file, write_record
from cryptoviz.engines.java import java_home
from cryptoviz.engines.process import bound_to_parent, tail
from cryptoviz.engines.ray_folder import make_ray_folder, ray_folder, ray_temp_dir, remove_ray_folder, scratch_dir
from cryptoviz.errors import EngineUnavailable, PreflightError
from cryptoviz.local.home_lock import HomeLock
from cryptoviz.local.ownership import make_private
from cryptoviz.local.private import OTHERS, ensure_token, require_own_file
from cryptoviz.local.process_identity import ProcessIdentity, descendants, processes_with, wait_ended
from cryptoviz.settings import (
    CLUSTER_VARIABLE,
    LOOPBACK,
    SETTINGS_FILE_VARIABLE,
    SPARK_SECRET_VARIABLE,
    Settings,
    child_environment,
    claim_home,
    dump_settings_file,
    host_port,
)
from cryptoviz.telemetry.log_rotation import ROTATE_BYTES

__all__ = [
    "NO_METRICS",
    "ControllerLaunch",
    "RayStart",
    "end_leftovers",
    "forget_cluster",
    "ray_variables",
    "spark_secret",
    "start_ray",
    "stop_ray",
]

_START_ATTEMPTS = 3
_STARTED = b"Ray runtime started"
_TOO_SLOW = (b"timed out during startup", b"Timed out waiting for file")
_STOP_TIMEOUT_S = 12.0  # the guard's own grace period plus the time it needs to kill
_LAUNCH_TIMEOUT_S = 90.0
_LEFTOVER_ROUNDS = 3  # a process may start another during the search
NO_METRICS = {"RAY_enable_metrics_collection": "0", "DASHBOARD_METRIC_PORT": "-1", "METRICS_RECORD_INTERVAL_S": "86400"}
"""Ray's metrics ports require no token, so they are off. The Ray dashboard's has no switch, but an invalid port disables it. It would still measure
the memory of its processes every 5 s for this port."""
_SELDOM = {
    "EVENT_AGENT_REPORT_INTERVAL_SECONDS": "5",
    "SCAN_EVENT_DIR_INTERVAL_SECONDS": "30",
    "REPORTER_UPDATE_INTERVAL_MS": "15000",
    "RAY_memory_monitor_refresh_ms": "1000",
}
"""How often Ray's dashboard agent reports events (by default every 0.1 s), looks for files of events (2 s), and measures each process of the node
(5 s), for Ray's dashboard; and how often the raylet looks at the machine's free memory (0.25 s)."""
# References that keep Python from warning about child processes without a wait: `stop_ray` ends them by their record, also from another process.
# Those that have ended are waited for.
_started: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class RayStart:
    """A command that starts Ray and runs as long as it, with its complete environment."""

    command: list[str]
    environment: dict[str, str]


def start_ray(
    settings: Settings,
    leash: Leash | None = None,
    inputs: str = "",
    meanwhile: Callable[[], object] = lambda: None,
    prepare: Callable[[Settings], RayStart] | None = None,
) -> ClusterRecord:
    """Start a one-node cluster below a guard, in its own session, and wait until it accepts work. Its log is `ray.log`.

    With a leash the cluster ends with this process; without, it runs until `stop_ray`. `inputs`: for the record, what the settings were read from.
    `meanwhile` is called once Ray's own start has begun, again at each further attempt. `prepare` gives another command than that of a one-node
    cluster, before each attempt.

    Raises:
        EngineUnavailable: the cluster ended or did not start in time; the message contains the end of its log.
        PreflightError: Spark's Java 17 is missing.
    """
    claim_home(settings)
    make_private(settings.run_dir)
    make_private(settings.log_dir)
    dump_settings_file(settings, settings_file(settings))
    for _ in range(_START_ATTEMPTS - 1):
        with contextlib.suppress(_RayTooSlow):
            return _start_once(settings, leash, inputs, meanwhile, prepare or _own_cluster)
    return _start_once(settings, leash, inputs, meanwhile, prepare or _own_cluster)


class _RayTooSlow(EngineUnavailable):
    """The node did not start within Ray's own limits of 30 and 15 s, which no option changes. A second start is faster: its files are in the page
    cache.
    """


def _own_cluster(settings: Settings) -> RayStart:
    folder = make_ray_folder(settings)
    return RayStart(_ray_command(settings, folder), _environment(settings))


def _start_once(
    settings: Settings, leash: Leash | None, inputs: str, meanwhile: Callable[[], object], prepare: Callable[[Settings], RayStart]
) -> ClusterRecord:
    log_file = settings.log_dir / "ray.log"
    end_leftovers(settings)
    start = prepare(settings)
    inherited = leash.inherited if leash else ()
    guard = [sys.executable, "-m", "cryptoviz.cluster_guard", str(inherited[0] if inherited else -1), str(log_file), "--"]
    os.close(os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [*guard, *start.command], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=start.environment,
            start_new_session=True, pass_fds=inherited, umask=OTHERS,
        )  # fmt: skip
    _started.append(process)
    if leash is not None:
        leash.tie(process)
    gcs = host_port(settings.ray.node_ip, settings.ray.gcs_port)
    record = ClusterRecord(ProcessIdentity.of(process.pid), gcs, Access.of(settings), inputs)
    write_record(settings.home, record)
    meanwhile()
    deadline = time.monotonic() + settings.ray.start_timeout_s
    while _STARTED not in log_file.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            message = f"Ray did not start ({log_file}):\n{tail(log_file, 12)}"
            too_slow = any(text in log_file.read_bytes() for text in _TOO_SLOW)
            stop_ray(settings, record)
            raise (_RayTooSlow if too_slow else EngineUnavailable)(message, engine="ray", address=record.address)
        time.sleep(0.05)
    return record


class ControllerLaunch:
    """Creates the controller actor in the cluster, in a process of its own whose imports take as long as the start of Ray: begin it before that."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._address = settings.ray.address or host_port(settings.ray.node_ip, settings.ray.gcs_port)
        self._process: subprocess.Popen[str] | None = None

    def begin(self) -> subprocess.Popen[str]:
        """Start the process, which waits for `finish`. Ends the process of an earlier call."""
        self.close()
        command = bound_to_parent([sys.executable, "-m", "control", "--address", self._address, "--wait"])
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=_environment(self._settings), stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        return self._process

    def finish(self) -> None:
        """Create the controller and return when its gRPC service answers.

        Raises:
            EngineUnavailable: the controller did not start; the message contains its error.
        """
        if self._process is None:  # the cluster was not started here, which writes the settings that the process reads
            dump_settings_file(self._settings, settings_file(self._settings))
        process = self._process or self.begin()
        try:
            _, errors = process.communicate("\n", timeout=_LAUNCH_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            message = f"the controller did not answer within {_LAUNCH_TIMEOUT_S:.0f} s"
            raise EngineUnavailable(message, engine="control", address=self._address) from None
        if process.returncode != 0:
            reason = "\n".join(errors.strip().splitlines()[-12:])
            raise EngineUnavailable(f"the controller did not start: {reason}", engine="control", address=self._settings.control.address)

    def close(self) -> None:
        """End the process, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def stop_ray(settings: Settings, record: ClusterRecord | None = None) -> bool:
    """Stop the cluster of this home: SIGTERM, then SIGKILL. False when none runs. Other Ray clusters of this user are not touched."""
    record = record or read_record(settings.home)
    if record is None:
        record_file(settings.home).unlink(missing_ok=True)
        return False
    family = [record.process, *descendants(record.pid)]
    record.process.send(signal.SIGTERM)
    alive = wait_ended(family, _STOP_TIMEOUT_S)
    for process in alive:
        process.send(signal.SIGKILL)
    wait_ended(alive, 3.0)
    _started[:] = [process for process in _started if process.poll() is None]
    # If another command holds the home (the foreground command of this cluster, or one that starts a new cluster), that command cleans up.
    with contextlib.suppress(PreflightError), HomeLock(settings.home, "cryptoviz down"):
        forget_cluster(settings)
    return True


def forget_cluster(settings: Settings) -> None:
    """Clean up after an ended cluster: stray processes, its record, Ray's folder. The caller holds the home lock."""
    end_leftovers(settings)
    record_file(settings.home).unlink(missing_ok=True)
    remove_ray_folder(settings)


def end_leftovers(settings: Settings) -> int:
    """Kill processes left behind by a killed guard of this home and return their number. The caller holds the home lock; no cluster runs."""
    ended = 0
    for _ in range(_LEFTOVER_ROUNDS):
        left = processes_with(CLUSTER_VARIABLE, str(settings.home))
        for process in left:
            process.send(signal.SIGKILL)
        wait_ended(left, 3.0)
        ended += len(left)
        if not left:
            break
    return ended


def _ray_command(settings: Settings, folder: Path) -> list[str]:
    ray = settings.ray
    cpus = ray.num_cpus or max(settings.lake.executors * settings.lake.executor_cores, os.cpu_count() or 1)
    return [
        sys.executable, "-m", "control.ray_head", "start", "--head", "--block", "--disable-usage-stats",
        f"--node-ip-address={ray.node_ip}", f"--port={ray.gcs_port}", *([f"--ray-client-server-port={ray.client_port}"] if ray.client_port else []),
        "--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={ray.dashboard_port}", "--dashboard-agent-listen-port=0",
        # The kernel chooses the workers' ports, so that two clusters on this machine never compete for a port.
        "--min-worker-port=0", "--max-worker-port=0",
        f"--temp-dir={ray_temp_dir(folder)}", f"--object-store-memory={ray.object_store_bytes}", f"--num-cpus={cpus}",
        *([f"--labels={ray.labels}"] if ray.labels else []),
        # Both would be idle: drivers here do not print worker logs, and a single node does not autoscale.
        "--include-log-monitor=false", "--no-monitor",
    ]  # fmt: skip


def _environment(settings: Settings) -> dict[str, str]:
    """Environment of Ray's processes. Settings reach them in a file; no CRYPTOVIZ_ variable or key is inherited."""
    own = {SETTINGS_FILE_VARIABLE: str(settings_file(settings)), CLUSTER_VARIABLE: str(settings.home)}
    return ray_variables() | own | _private(settings) | _authentication(settings)


def ray_variables() -> dict[str, str]:
    """Environment of Ray's processes in any cluster that is started here."""
    home = java_home()
    path = child_environment()["PATH"]
    return child_environment(
        {
            "PATH": f"{home / 'bin'}:{Path(sys.executable).parent}:{path}",
            "JAVA_HOME": str(home),
            # Every JVM and Python process below Ray treats file names as UTF-8.
            "LC_ALL": "C.UTF-8",
            "RAY_DEDUP_LOGS": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            # Per process; Ray's default is 512 MB.
            "RAY_ROTATION_MAX_BYTES": str(ROTATE_BYTES),
            "RAY_ROTATION_BACKUP_COUNT": "1",
            # By default glibc creates up to 8 malloc arenas per core; two per process save memory at no measurable cost.
            "MALLOC_ARENA_MAX": "2",
            # Freed memory at the top of the heap returns to the kernel above this fixed limit; glibc's default limit grows.
            "MALLOC_TRIM_THRESHOLD_": "131072",
            # Detached actors are stopped before Ray; a drain would only wait.
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            # Prestarted idle workers take 60 MB each; the pipeline submits few tasks.
            "RAY_enable_worker_prestart": "0",
            "RAY_prestart_worker_first_driver": "0",
        }
    )


def _private(settings: Settings) -> dict[str, str]:
    """Variables that restrict our own cluster to this machine and its files to this user."""
    host = settings.ray.address.partition(":")[0] or settings.ray.node_ip
    # Ray's switch for systems where a listener triggers a firewall dialog. With it 127.0.0.1 is kept as the node's address, and GCS, raylet,
    # workers and agents listen on loopback only instead of on all interfaces (https://github.com/ray-project/ray/issues/18730).
    alone = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if host in {LOOPBACK, "localhost"} else {}
    if settings.ray.address:
        return alone
    folder = ray_folder(settings)
    temporary = {"TMPDIR": str(scratch_dir(folder))} if folder else {}
    return temporary | alone | NO_METRICS | _SELDOM


def _authentication(settings: Settings) -> dict[str, str]:
    """Token variables of our own cluster: other users of this machine can reach Ray's ports, so Ray requires a token, generated once.

    A joined cluster's token is found by Ray itself, unless `ray_token_file` exists.
    """
    path = settings.ray_token_file
    if not settings.ray.address:
        token = ensure_token(path, "CRYPTOVIZ_HOME", end="")
    elif os.path.lexists(path):
        # Written by the owner of the joined cluster, in their own format.
        require_own_file(path, "CRYPTOVIZ_HOME")
        token = path.read_text(encoding="utf-8").strip()
    else:
        return {}
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path), SPARK_SECRET_VARIABLE: spark_secret(token)}


def spark_secret(token: str) -> str:
    """The shared secret of Spark's processes, derived from Ray's token: only code that may run in the cluster can compute it."""
    return hashlib.sha256(f"spark:{token}".encode()).hexdigest()
