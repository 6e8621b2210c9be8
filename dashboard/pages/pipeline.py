"""The pipeline page: states of all components, and start, stop, restart over gRPC after a confirmation."""

from __future__ import annotations

from collections.abc import Mapping

from cryptoviz.components import ComponentStatus
from cryptoviz.settings import Settings
from dashboard.page_session import Session
from dashboard.pages.log_part import LogPart
from dashboard.pages.operations_part import OperationsPart
from dashboard.pages.page import Page, PageKind
from dashboard.views.explore_frames import log_card, operations_card
from dashboard.views.link import Link
from dashboard.views.markup import element
from dashboard.views.pipeline_frame import PIPELINE, component_table, console_links, pipeline_frame
from dashboard.views.pipeline_rows import Verb, allowed, component_row, pipeline_summary
from dashboard.views.placeholders import state_markup
from dashboard.views.texts import say

__all__ = ["KIND", "PipelinePage"]


class PipelinePage(Page):
    """Verbs: start, stop, restart, log (name), and those of `OperationsPart`."""

    def __init__(self, session: Session, link: Link) -> None:
        super().__init__(session, link)
        self._operations, self._log = OperationsPart(session), LogPart(session)

    def refresh(self) -> None:
        self._refresh_components()
        self._operations.refresh()
        self._log.refresh()

    def _refresh_components(self) -> None:
        app_context = self.session.app_context
        self.out.put("pipeline.consoles", console_links(_consoles(app_context.settings)))
        pipeline, lost = app_context.control.read()
        if pipeline is None:
            connecting = lost in (None, "connecting")
            title = "Connecting to the control service" if connecting else "The control service does not answer"
            self.out.put("pipeline.table", state_markup("loading" if connecting else "error", title, "" if connecting else lost or ""))
            return
        self.out.put("pipeline.line", element("div", pipeline_summary(pipeline), "cv-summary-line"))
        self.out.put("pipeline.table", component_table([self._row(component) for component in pipeline.components]))

    def _row(self, component: ComponentStatus) -> dict[str, str]:
        return component_row(component, self.session.app_context.inspection.trends.of(component.name), operates=self.session.visitor.operates)

    def act(self, verb: str, values: Mapping[str, str]) -> None:
        name = values.get("name", "")
        self._operations.act(verb, values)
        if verb == "log":
            pipeline, _ = self.session.app_context.control.read()
            if pipeline is not None and pipeline.component(name) is not None:
                self._log.choose(name)
        if verb in tuple(Verb) and self._allowed(Verb(verb), name):
            self.session.in_background(
                lambda: self._send(Verb(verb), name),
                lambda _nothing: self.session.notify("success", say("Requested: {verb} {name}", verb=say(verb), name=say(name))),
                lambda error: self.session.notify("error", say("Could not {verb} {name}: {error}", verb=say(verb), name=say(name), error=error)),
            )

    def _allowed(self, verb: Verb, name: str) -> bool:
        if name == PIPELINE:
            return verb is not Verb.RESTART
        pipeline, _ = self.session.app_context.control.read()
        component = pipeline.component(name) if pipeline else None
        return component is not None and allowed(component, verb)

    def _send(self, verb: Verb, name: str) -> None:
        client = self.session.app_context.connect()
        try:
            if name == PIPELINE:
                (client.start_pipeline if verb is Verb.START else client.stop_pipeline)()
            else:
                getattr(client, verb)(name)
        finally:
            client.close()


def _consoles(settings: Settings) -> list[tuple[str, str]]:
    places = [("Ray dashboard", "http", settings.ray.dashboard_port), ("Spark UI", "http", settings.lake.ui_port)]
    if settings.s3.embedded:
        places.append(("MinIO console", "https" if settings.engines.exposed else "http", settings.s3.console_port))
    return [(f"{name} :{port}", f"{scheme}://127.0.0.1:{port}") for name, scheme, port in places]


def _frame(language: str) -> str:
    return pipeline_frame(language) + operations_card() + log_card()


KIND = PageKind("pipeline", "pipeline", _frame, PipelinePage)
