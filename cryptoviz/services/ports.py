"""Which ports a pipeline takes, under which setting, and who holds one that is taken."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

import psutil

from cryptoviz.errors import PreflightError
from cryptoviz.settings import Settings

__all__ = ["Holder", "PortUse", "describe_taken", "holder_of", "is_free", "pipeline_ports", "require_free"]


@dataclass(frozen=True, slots=True)
class PortUse:
    """One port that the pipeline listens on: what for, which, and the setting that moves it."""

    name: str
    port: int
    setting: str
    host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who listens on a port. `pid` is None when the process is another user's and this one may not look."""

    pid: int | None
    process: str

    def __str__(self) -> str:
        return f"{self.process} (pid {self.pid})" if self.pid is not None else self.process


def pipeline_ports(settings: Settings) -> tuple[PortUse, ...]:
    """Every port that `up` (or `demo`) takes with these settings; external engines take none."""
    uses = [
        PortUse("dashboard", settings.dashboard.port, "CRYPTOVIZ_DASHBOARD__PORT", settings.dashboard.host),
        PortUse("control service", settings.control.port, "CRYPTOVIZ_CONTROL__PORT", settings.control.host),
        PortUse("Spark UI", settings.lake.ui_port, "CRYPTOVIZ_LAKE__UI_PORT"),
    ]
    if not settings.ray.address:
        uses.append(PortUse("Ray head", settings.ray.gcs_port, "CRYPTOVIZ_RAY__GCS_PORT"))
        uses.append(PortUse("Ray client", settings.ray.client_port, "CRYPTOVIZ_RAY__CLIENT_PORT"))
        uses.append(PortUse("Ray dashboard", settings.ray.dashboard_port, "CRYPTOVIZ_RAY__DASHBOARD_PORT"))
    if settings.kafka.embedded:
        uses.append(PortUse("Kafka", settings.kafka.port, "CRYPTOVIZ_KAFKA__PORT"))
        uses.append(PortUse("Kafka controller", settings.kafka.controller_port, "CRYPTOVIZ_KAFKA__CONTROLLER_PORT"))
    if settings.s3.embedded:
        uses.append(PortUse("MinIO", settings.s3.port, "CRYPTOVIZ_S3__PORT"))
        uses.append(PortUse("MinIO console", settings.s3.console_port, "CRYPTOVIZ_S3__CONSOLE_PORT"))
    if settings.redis.embedded:
        uses.append(PortUse("Redis", settings.redis.port, "CRYPTOVIZ_REDIS__PORT"))
    if settings.profile == "demo":
        uses.append(PortUse("replay market", settings.market.port, "CRYPTOVIZ_MARKET__PORT"))
    return tuple(uses)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now. Connections that linger after a close do not count."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            # Anything else (an address that this machine lacks, a privileged port) is not a taken port: the server itself says it best.
            return error.errno != errno.EADDRINUSE
    return True


def holder_of(port: int) -> Holder | None:
    """The process that listens on the port; None when nobody does."""
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status != psutil.CONN_LISTEN or not connection.laddr or connection.laddr.port != port:
            continue
        if connection.pid is None:
            return Holder(None, "a process of another user")
        try:
            return Holder(connection.pid, psutil.Process(connection.pid).name())
        except psutil.Error:
            return Holder(connection.pid, "a process that has just ended")
    return None


def require_free(uses: tuple[PortUse, ...]) -> None:
    """Raise PreflightError when any of the ports is taken; its message names port, holder and setting of each."""
    problems = [describe_taken(use, holder_of(use.port)) for use in uses if not is_free(use.port, use.host)]
    if problems:
        raise PreflightError("\n".join(problems), problems=problems)


def describe_taken(use: PortUse, holder: Holder | None) -> str:
    """One line for a taken port: who holds it and which setting moves ours."""
    return f"port {use.port} ({use.name}) is taken by {holder or 'an unknown process'}; end that, or choose another port with {use.setting}"
