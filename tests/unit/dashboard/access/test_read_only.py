"""What a visitor with the role read reaches of the control service."""

from __future__ import annotations

from typing import Any, cast

import pytest

from cryptoviz.client import ControlClient
from cryptoviz.errors import ControlRefused
from cryptoviz.operations_client import OperationsClient
from dashboard.access.read_only import read_only
from dashboard.feeds.control_feed import ControlService

READS = {
    "address",
    "call_metrics",
    "close",
    "gaps",
    "get",
    "list",
    "operations",
    "provider",
    "providers",
    "tail_logs",
    "wait",
    "wait_stopped",
    "watch",
}
VERBS = {"start", "stop", "restart", "start_pipeline", "stop_pipeline", "shutdown", "trip_breaker", "reset_breaker"}


class Recorder:
    """Answers to any name, and notes it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        return Recorder()


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")} - {"from_settings"}


def test_every_name_of_the_clients_is_a_read_or_a_verb() -> None:
    # A new method is refused until someone decides that it only reads.
    assert public(ControlClient) == READS | VERBS
    assert public(OperationsClient) == {"get", "list", "watch", "start", "resume", "wait", "cancel"}


def test_no_verb_leaves_and_every_read_does() -> None:
    service = Recorder()
    client = cast("Any", read_only(lambda: cast("ControlService", service))())
    for name in sorted(VERBS):
        with pytest.raises(ControlRefused, match="needs operate"):
            getattr(client, name)
    assert service.asked == []
    for name in sorted(READS):
        getattr(client, name)
    assert service.asked == sorted(READS)
    operations = client.operations
    for name in ("start", "resume", "cancel"):
        with pytest.raises(ControlRefused, match="needs operate"):
            getattr(operations, name)
    assert operations.list is not None
