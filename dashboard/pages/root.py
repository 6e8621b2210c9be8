"""The frame around the pages: app bar, banners, tabs; and which page is shown."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from tornado.ioloop import IOLoop

from dashboard.app_context import AppContext
from dashboard.page_session import Session
from dashboard.pages.frame import TEMPLATE, page_variables
from dashboard.pages.page import Page
from dashboard.pages.registry import page_kind, pages_of
from dashboard.shared_state import CONNECTING
from dashboard.views.alert_rows import notice_text
from dashboard.views.header import banner_markup, header_markup, total
from dashboard.views.link import parse_link
from dashboard.views.texts import speak, texts

__all__ = ["RootPage"]


class RootPage:
    """A browser's page. `view` is served by Panel: the channel to the browser, in a document whose template is the frame."""

    def __init__(self, app_context: AppContext, doc: Any, arguments: dict[str, str], accepted_languages: str = "") -> None:
        self._app_context = app_context
        self._kinds = pages_of(app_context.settings)
        link = parse_link(
            arguments, [asset.asset_id for asset in app_context.settings.assets], [kind.name for kind in self._kinds], accepted_languages
        )
        speak(link.language)
        self._session = Session(app_context, doc, link.language, IOLoop.current())
        self._pages: dict[str, Page] = {}
        self._shown = link.view
        self._first_id = secrets.token_hex(8)
        self._alerts_seen = app_context.alerts.count
        self._link = link
        self._texts = texts(link.language)
        self.view = self._session.delivery.view
        doc.template = TEMPLATE
        doc.template_variables.update(page_variables(link, self._kinds, self._first(), self._first_id))
        visitor = self._session.visitor
        doc.template_variables["signed_in"] = f"{visitor.name} ({visitor.role})" if visitor.cookie else ""
        self._session.open(self.pull, self._act)

    def _first(self) -> dict[str, Any]:
        """The parts that the HTML carries, so that prices are painted before any library has loaded."""
        self.pull()
        parts, _ = self._session.out.take()
        return parts

    def pull(self) -> None:
        """Put what the page shows now."""
        self._refresh_frame()
        self._notify_alerts()
        for name in self._names():
            self._page(name).refresh()

    def _names(self) -> list[str]:
        kind = page_kind(self._shown, self._kinds) or self._kinds[0]
        return [kind.name, kind.beside] if kind.beside else [kind.name]

    def _page(self, name: str) -> Page:
        page = self._pages.get(name)
        if page is None:
            kind = page_kind(name, self._kinds) or self._kinds[0]
            page = self._pages[name] = kind.build(self._session, self._link)
        return page

    def _refresh_frame(self) -> None:
        app_context = self._app_context
        pipeline, lost = app_context.control.read()
        replayed = pipeline.replayed if pipeline is not None else app_context.settings.profile == "demo"
        live = app_context.live
        totals = app_context.derived.get(("totals", live.version), lambda: total(live.latest().values()))
        self._session.out.put("header", header_markup(totals, pipeline, lost, replayed, app_context.tick_ms, self._texts))
        status = app_context.live.status
        feed_lost = None if status.connected or status.message == CONNECTING else status.message
        self._session.out.put("banner", banner_markup(feed_lost, None if lost in (None, CONNECTING) else lost, self._texts))

    def _notify_alerts(self) -> None:
        self._alerts_seen, fired = self._app_context.alerts.since(self._alerts_seen)
        for firing in fired:
            self._session.notify("warning", notice_text(firing, self._texts))

    def _act(self, page: str, verb: str, values: Mapping[str, str]) -> None:
        if page != "root":
            kind = page_kind(page, self._kinds)
            if kind is not None:
                self._page(page).act(verb, values)
        elif verb == "hello" and values.get("first") != self._first_id:
            # Not the browser of this session's HTML, as after a restart of the server: it has none of the parts.
            self._session.out.forget()
            for each in self._pages.values():
                each.forget()
        elif verb == "show":
            kind = page_kind(values.get("view", ""), self._kinds)
            if kind is not None:
                self._shown = kind.name
