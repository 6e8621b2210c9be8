"""The control service for a visitor who may only read: no call that changes anything is made, whatever the browser sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from cryptoviz.errors import ControlRefused
from dashboard.feeds.control_feed import ControlService

__all__ = ["read_only"]

_READS = frozenset(
    {"address", "call_metrics", "close", "gaps", "get", "list", "provider", "providers", "tail_logs", "wait", "wait_stopped", "watch", "operations"}
)
_READS_OF_OPERATIONS = frozenset({"get", "list", "watch"})


def read_only(connect: Callable[[], ControlService]) -> Callable[[], ControlService]:
    """Connections of `connect` whose verbs raise ControlRefused."""
    return lambda: cast("ControlService", _ReadOnly(connect(), _READS))


class _ReadOnly:
    """Passes on the listed names, so that a later verb is refused until it is listed."""

    def __init__(self, service: object, allowed: frozenset[str]) -> None:
        self._service, self._allowed = service, allowed

    def __getattr__(self, name: str) -> Any:
        if name not in self._allowed:
            raise ControlRefused(f"{name}: your token has the role read, and this needs operate", code="PERMISSION_DENIED")
        found = getattr(self._service, name)
        return _ReadOnly(found, _READS_OF_OPERATIONS) if name == "operations" else found
