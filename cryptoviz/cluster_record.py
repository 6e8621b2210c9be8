"""The record of the running cluster, or of a pipeline in a cluster that it joined, `run/cluster.json` in its home: what other commands need of it."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import orjson

from cryptoviz.errors import SettingsError
from cryptoviz.local.home import require_own_home
from cryptoviz.local.private import write_private
from cryptoviz.local.process_identity import ProcessIdentity

if TYPE_CHECKING:
    from cryptoviz.settings import Settings

__all__ = ["Access", "ClusterRecord", "mark_stop", "read_joined", "read_record", "record_file", "settings_file", "was_stopped", "write_record"]


@dataclass(frozen=True, slots=True)
class Access:
    """Settings of the running pipeline that a command needs to call its control service and to show its addresses."""

    home: str
    control_address: str
    token_file: str
    tls_cert: str | None
    tick_s: float
    addresses: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...]
    tls_client_cert: str | None = None
    tls_client_key: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The part of the settings.

        `addresses`: user interfaces and endpoints, by name. `files`: those that a check of the settings reads, with a digest of each.
        """
        from cryptoviz.settings import credentials_file
        from cryptoviz.settings.engine_tls import authority_file

        control = settings.control
        engines = settings.engines
        checked = (
            control.tls_cert, control.tls_key, control.tls_client_ca, control.tls_client_cert, control.tls_client_key,
            engines.tls_cert, engines.tls_key, engines.ca_file, settings.kafka.ssl_ca_location,
            settings.s3.ca_file, settings.redis.ca_file, settings.network.ca_file,
        )  # fmt: skip
        files = (settings_file(settings), credentials_file(settings), authority_file(settings), *(path for path in checked if path is not None))
        return cls(
            str(settings.home),
            control.address,
            str(settings.token_file),
            str(control.tls_cert) if control.tls_cert else None,
            settings.collect.tick_s,
            (
                ("Dashboard", f"http://127.0.0.1:{settings.dashboard.port}"),
                ("Ray dashboard", f"http://127.0.0.1:{settings.ray.dashboard_port}  (token: {_ray_token(settings)})"),
                ("Spark UI", f"http://127.0.0.1:{settings.lake.ui_port}"),
                (
                    "MinIO console",
                    f"{'https' if engines.exposed else 'http'}://127.0.0.1:{settings.s3.console_port}  (user {settings.s3.access_key})",
                ),
                ("gRPC control", f"{control.address}  (token: {settings.token_file})"),
            ),
            tuple((str(path), _digest(path)) for path in files),
            str(control.tls_client_cert) if control.tls_client_cert else None,
            str(control.tls_client_key) if control.tls_client_key else None,
        )

    @property
    def is_current(self) -> bool:
        """Whether the files are as they were."""
        return all(_digest(Path(path)) == digest for path, digest in self.files)


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """A running cluster; `down` ends it by its root process.

    Attributes:
        process: root process.
        address: of Ray's GCS.
        access: how to reach its control service; None in the record of an earlier version.
        inputs: digest of what the start read its settings from (`settings_inputs`); empty if unknown.
        stopping: a command has begun to stop it.
        joined: the cluster is not ours to end, and has no root process here.
    """

    process: ProcessIdentity
    address: str
    access: Access | None = None
    inputs: str = ""
    stopping: bool = False
    joined: bool = False

    @classmethod
    def of_joined(cls, address: str, access: Access, inputs: str) -> Self:
        """The record of a pipeline in a cluster that it joined."""
        return cls(ProcessIdentity("", "", 0, 0), address, access, inputs, joined=True)

    @property
    def pid(self) -> int:
        return self.process.pid


def record_file(home: Path) -> Path:
    """The file of the record."""
    return home / "run" / "cluster.json"


def settings_file(settings: Settings) -> Path:
    """The file with the settings that the running pipeline was started with (mode 0600)."""
    return settings.run_dir / "settings.json"


def write_record(home: Path, record: ClusterRecord) -> None:
    """Store the record. Atomic; mode 0600."""
    write_private(record_file(home), orjson.dumps(asdict(record)).decode())


def read_record(home: Path) -> ClusterRecord | None:
    """The record of the cluster that runs from this home, None if none runs.

    Raises:
        SettingsError: another user could have written the record. The caller would end the process that it names.
    """
    record = _read(home)
    return record if record is not None and record.process.is_alive else None


def read_joined(home: Path) -> ClusterRecord | None:
    """The record of a pipeline that was started from this home in a cluster that it joined, until it is stopped. Raises as `read_record`."""
    record = _read(home)
    return record if record is not None and record.joined else None


def mark_stop(home: Path) -> None:
    """Record that a command stops the cluster: its foreground command and those that follow it then end without an error. No-op if none runs."""
    with suppress(OSError, SettingsError):  # stopping matters more
        record = read_record(home)
        if record is not None:
            write_record(home, replace(record, stopping=True))


def was_stopped(home: Path) -> bool:
    """Whether a command is stopping the cluster, or has stopped it and its record is still there."""
    try:
        record = _read(home)
    except SettingsError:
        return False
    return record is not None and record.stopping


def _read(home: Path) -> ClusterRecord | None:
    require_own_home(home)
    try:
        content = orjson.loads(record_file(home).read_bytes())
        process = ProcessIdentity(**content["process"])
        flags = content.get("stopping", False), content.get("joined", False)
        return ClusterRecord(process, content["address"], _access(content), content.get("inputs", ""), *flags)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _access(content: dict[str, Any]) -> Access | None:
    try:
        kept = content["access"]
        pairs = {field: tuple((name, value) for name, value in kept[field]) for field in ("addresses", "files")}
        access = Access(**kept | pairs)
    except (ValueError, TypeError, KeyError):
        return None
    pems = (access.tls_cert or "", access.tls_client_cert or "", access.tls_client_key or "")
    texts = (access.home, access.control_address, access.token_file, *pems, *chain(*access.addresses, *access.files))
    return access if isinstance(access.tick_s, int | float) and all(isinstance(text, str) for text in texts) else None


def _ray_token(settings: Settings) -> Path:
    """The token of the cluster. Ray finds that of a joined cluster itself, unless the home has a copy."""
    joined = bool(settings.ray.address) and not settings.ray_token_file.exists()
    return Path.home() / ".ray" / "auth_token" if joined else settings.ray_token_file


def _digest(path: Path) -> str:
    """Of owner, mode and content of a file; empty if it cannot be read."""
    try:
        if not path.is_file():
            return ""
        states = [f"{found.st_uid} {found.st_mode}" for found in (path.lstat(), path.stat())]
        return hashlib.sha256(f"{states}".encode() + path.read_bytes()).hexdigest()
    except OSError:
        return ""
