"""Which ports a pipeline takes, under which setting, and who holds one that is taken."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

import psutil

from cryptoviz.errors import PreflightError
from cryptoviz.settings import PortUse, pipeline_ports

__all__ = ["Holder", "PortUse", "describe_taken", "holder_of", "is_free", "pipeline_ports", "require_free"]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who listens on a port. `pid` is None when the process is another user's and this one may not look."""

    pid: int | None
    process: str

    def __str__(self) -> str:
        return f"{self.process} (pid {self.pid})" if self.pid is not None else self.process


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
