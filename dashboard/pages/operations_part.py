"""The operations of the pipeline page: start, progress, cancel, resume."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import cast

from cryptoviz.client import ControlClient
from dashboard.page_session import Session
from dashboard.views.operation_rows import operation_table, parse_operation
from dashboard.views.placeholders import state_markup
from dashboard.views.texts import say

__all__ = ["OperationsPart"]


class OperationsPart:
    """Verbs: start_operation (fields of the form), cancel_operation, resume_operation (id)."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def refresh(self) -> None:
        rows, problem = self._session.app_context.inspection.operations.look()
        if rows:
            stale = "" if problem is None else state_markup("error", "Not refreshed", problem)
            markup = stale + operation_table(rows, operates=self._session.visitor.operates)
        elif problem is not None:
            markup = state_markup("error", "The control service does not answer", problem)
        elif rows is not None:
            markup = state_markup("empty", "No operations yet", "Verify compares Kafka with the lake; backfill fills gaps from history.")
        else:
            return
        self._session.out.put("pipeline.operations", markup)

    def act(self, verb: str, values: Mapping[str, str]) -> None:
        if verb == "start_operation":
            asked = parse_operation(values, {asset.asset_id for asset in self._session.app_context.settings.assets})
            if isinstance(asked, str):
                self._session.notify("error", asked)
                return
            name = uuid.uuid4().hex
            self._send(lambda client: client.operations.start(asked, name), say("Started: {kind}", kind=asked.kind))
        elif verb in ("cancel_operation", "resume_operation"):
            rows, _ = self._session.app_context.inspection.operations.look()
            one = next((row for row in rows or () if row.id == values.get("id")), None)
            if one is not None and verb == "cancel_operation":
                self._send(lambda client: client.operations.cancel(one.id), say("Requested: cancel {kind}", kind=one.kind))
            elif one is not None:
                self._send(lambda client: client.operations.resume(one.id), say("Resumed: {kind}", kind=one.kind))

    def _send(self, call: Callable[[ControlClient], object], done: str) -> None:
        app_context = self._session.app_context

        def send() -> None:
            client = cast("ControlClient", app_context.connect())
            try:
                call(client)
            finally:
                client.close()
                app_context.inspection.operations.expire()

        self._session.in_background(
            send, lambda _nothing: self._session.notify("success", done), lambda error: self._session.notify("error", str(error))
        )
