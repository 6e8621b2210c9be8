"""The pipeline page: states of all components, and start, stop, restart over gRPC after a confirmation."""

from __future__ import annotations

from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui
from panel.io.model import JSCode

from cryptoviz.settings import Settings
from dashboard.page_session import Session
from dashboard.pages.parts import bar, button, card, markup, set_markup, stack, table
from dashboard.views.markup import element, text
from dashboard.views.pipeline_rows import FIELDS, Verb, allowed, component_row, pipeline_summary, question
from dashboard.views.placeholders import state_markup

__all__ = ["PipelinePage"]

_PIPELINE = "the pipeline"
# title, minimum width in px, share of the remaining width, order of hiding (0: never), alignment
_COLUMNS: dict[str, tuple[str, int, int, int, str]] = {
    "name": ("Component", 150, 2, 0, "left"),
    "desired": ("Desired", 88, 1, 5, "left"),
    "state": ("State", 98, 1, 0, "left"),
    "since": ("Since", 76, 1, 3, "right"),
    "restarts": ("Restarts", 66, 1, 5, "right"),
    "message": ("Trigger, message", 200, 8, 4, "left"),
    "metrics": ("Metrics", 280, 10, 6, "left"),
    "start": ("", 60, 1, 0, "center"),
    "stop": ("", 58, 1, 0, "center"),
    "restart": ("", 76, 1, 2, "center"),
}


class PipelinePage:
    """Built when first shown, so that the market view opens faster."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._names: list[str] = []
        self._rows: list[dict[str, str]] = []
        self._asked: tuple[Verb, str] | None = None
        self._line = markup(css_class="cv-pipeline-line", sizing_mode="stretch_width")
        self._state = markup(state_markup("loading", "Connecting to the control service"), sizing_mode="stretch_width")
        self._table = _tabulator()
        self._table.on_click(self._clicked)
        # The table is added with its first rows: while hidden, Tabulator would fit its columns to a width of 0.
        self._body = stack(self._state, css_class="cv-components-body")
        self._question = markup(margin=(0, 0, 12, 0), sizing_mode="stretch_width")
        self._dialog: Any = self._make_dialog()
        start = button("Start all", lambda: self._ask(Verb.START, _PIPELINE), "cv-start-pipeline")
        stop = button("Stop all", lambda: self._ask(Verb.STOP, _PIPELINE), "cv-stop-pipeline")
        overview = card(bar(self._line, start, stop), self._body, css_class="cv-components")
        consoles = card(bar(markup(_links(session.app_context.settings))), css_class="cv-consoles")
        self.view = stack(overview, consoles, self._dialog, css_class="cv-pipeline")

    def refresh(self) -> None:
        pipeline, lost = self._session.app_context.control.read()
        if pipeline is None:
            self._put(self._state)
            kind, title = (
                ("loading", "Connecting to the control service") if lost in (None, "connecting") else ("error", "The control service does not answer")
            )
            markup = state_markup(kind, title, lost or "")
            if self._state.object != markup:
                self._state.object = markup
            return
        set_markup(self._line, element("div", pipeline_summary(pipeline), "cv-summary-line"))
        self._show([component_row(component) for component in pipeline.components])
        self._put(self._table)

    def _put(self, content: Any) -> None:
        if self._body.objects != [content]:
            self._body.objects = [content]

    def _show(self, rows: list[dict[str, str]]) -> None:
        names = [row["component"] for row in rows]
        if names != self._names:
            self._table.value = _frame(rows)
        else:
            patches: dict[str, list[tuple[int, Any]]] = {}
            for index, (before, after) in enumerate(zip(self._rows, rows, strict=True)):
                for field, value in after.items():
                    if before[field] != value:
                        patches.setdefault(str(field), []).append((index, value))
            if patches:
                self._table.patch(patches, as_index=False)
        self._names, self._rows = names, rows

    def _clicked(self, event: Any) -> None:
        if event.column not in tuple(Verb) or not 0 <= event.row < len(self._names):
            return
        verb, name = Verb(event.column), self._names[event.row]
        pipeline, _ = self._session.app_context.control.read()
        component = pipeline.component(name) if pipeline else None
        if component is not None and allowed(component, verb):
            self._ask(verb, name)

    def _ask(self, verb: Verb, name: str) -> None:
        self._asked = (verb, name)
        self._question.object = element("p", text(question(verb, name)))
        self._dialog.open = True

    def _confirmed(self) -> None:
        self._dialog.open = False
        if self._asked is None:
            return
        (verb, name), self._asked = self._asked, None
        done = f"Requested: {verb} {name}"
        self._session.in_background(
            lambda: self._send(verb, name),
            lambda _nothing: self._session.notify("success", done),
            lambda error: self._session.notify("error", f"Could not {verb} {name}: {error}"),
        )

    def _send(self, verb: Verb, name: str) -> None:
        client = self._session.app_context.connect()
        try:
            if name == _PIPELINE:
                (client.start_pipeline if verb is Verb.START else client.stop_pipeline)()
            else:
                {Verb.START: client.start, Verb.STOP: client.stop, Verb.RESTART: client.restart}[verb](name)
        finally:
            client.close()

    def _make_dialog(self) -> Any:
        confirm = button("Confirm", self._confirmed, "cv-confirm", variant="contained")
        cancel = button("Cancel", lambda: self._dialog.param.update(open=False), "cv-cancel")
        buttons = pn.Row(pn.HSpacer(), cancel, confirm, sizing_mode="stretch_width", margin=0)
        content = pn.Column(self._question, buttons, sizing_mode="stretch_width", margin=0)
        return pmui.Dialog(content, title="Please confirm", title_variant="h6", width_option="xs", css_classes=["cv-dialog"])


def _links(settings: Settings) -> str:
    places = [("Ray dashboard", "http", settings.ray.dashboard_port), ("Spark UI", "http", settings.lake.ui_port)]
    if settings.s3.embedded:
        places.append(("MinIO console", "https" if settings.engines.exposed else "http", settings.s3.console_port))
    links = [
        element("a", f"{name} :{port}", "", href=f"{scheme}://127.0.0.1:{port}", target="_blank", rel="noopener") for name, scheme, port in places
    ]
    return element("div", element("b", "Consoles") + "".join(links), "cv-links")


def _frame(rows: list[dict[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["component", *FIELDS])


def _tabulator() -> Any:
    columns = [
        {
            "field": field, "minWidth": width, "widthGrow": share, "responsive": responsive,
            "hozAlign": align, "headerHozAlign": align, "headerSort": False, "variableHeight": True,
        }
        for field, (_, width, share, responsive, align) in _COLUMNS.items()
    ]  # fmt: skip
    return table(
        _frame([]),
        "cv-pipeline-table",
        columns,
        hidden_columns=["component"],
        titles={field: title for field, (title, *_) in _COLUMNS.items()},
        formatters={field: JSCode("function(cell) { return cell.getValue() }") for field in FIELDS},
        selectable=False,
    )
