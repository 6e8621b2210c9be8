"""What a visitor with the role read reaches of the control service."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import pytest
from bokeh.document import Document
from tornado.ioloop import IOLoop

from cryptoviz.client import ControlClient
from cryptoviz.errors import ControlRefused
from cryptoviz.operations_client import OperationsClient
from dashboard.access.read_only import read_only
from dashboard.feeds.control_feed import ControlService
from dashboard.page_session import Session
from dashboard.pages.pipeline import PipelinePage
from dashboard.views.link import parse_link
from dashboard.views.pipeline_rows import Verb
from tests.support.dashboard_server import new_app_context

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


@pytest.mark.parametrize("verb", tuple(Verb))
def test_a_refusal_names_the_verb_that_was_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: Verb) -> None:
    work: list[Any] = []
    monkeypatch.setattr(PipelinePage, "_allowed", lambda *_: True)
    monkeypatch.setattr(Session, "in_background", lambda _self, call, *_: work.append(call))
    with new_app_context(tmp_path) as app_context:
        reader = replace(app_context, connect=read_only(lambda: cast("ControlService", Mock())))
        page = PipelinePage(Session(reader, Document(), "en", Mock(IOLoop)), parse_link({}, ["bitcoin"], ["pipeline"], ""))
        page.act(verb, {"name": "lake"})
        with pytest.raises(ControlRefused, match=f"^{verb}: your token has the role read"):
            work[0]()
