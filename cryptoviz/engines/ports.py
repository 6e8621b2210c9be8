"""Ports of a pipeline with their settings, and the processes that hold them."""

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
    """The process that listens on a port. `pid` is None if it belongs to another user and is not visible."""

    pid: int | None
    process: str

    def __str__(self) -> str:
        return f"{self.process} (pid {self.pid})" if self.pid is not None else self.process


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on the port now. Connections in TIME_WAIT do not count.

    The look does not listen itself: a child that another thread starts has a copy of the socket until it runs its program, and two sockets may be
    bound with `SO_REUSEADDR` unless one listens (socket(7)).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            # Other errors (foreign address, privileged port) do not mean that the port is in use; the server itself reports them best.
            return error.errno != errno.EADDRINUSE
    return True


def holder_of(port: int) -> Holder | None:
    """The process that listens on the port; None if the port is free."""
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
    """Raise PreflightError if any port is in use; the message has port, process and setting of each."""
    problems = []
    for use in uses:
        if is_free(use.port, use.host):
            continue
        holder = holder_of(use.port)
        if holder is not None or not is_free(use.port, use.host):  # else it was released meanwhile
            problems.append(describe_taken(use, holder))
    if problems:
        raise PreflightError("\n".join(problems), problems=problems)


def describe_taken(use: PortUse, holder: Holder | None) -> str:
    """One line for a port in use: its process, and the setting to change it."""
    return f"port {use.port} ({use.name}) is in use by {holder or 'an unknown process'}; stop it, or choose another port with {use.setting}"
