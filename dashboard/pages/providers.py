"""The providers page: breaker, quota, latency and errors of each provider; trip and reset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from cryptoviz.client import ControlClient
from dashboard.pages.page import Page, PageKind
from dashboard.views.explore_frames import providers_frame
from dashboard.views.placeholders import state_markup
from dashboard.views.provider_rows import provider_table
from dashboard.views.texts import say

__all__ = ["KIND", "ProvidersPage"]


class ProvidersPage(Page):
    """Verbs: trip, reset (name)."""

    def refresh(self) -> None:
        rows, problem = self.session.app_context.inspection.providers.look()
        if rows is None:
            if problem is not None:
                self.out.put("providers.table", state_markup("error", "The control service does not answer", problem))
        elif not rows:
            self.out.put("providers.table", state_markup("empty", "No providers are configured", "CRYPTOVIZ_COLLECT__PROVIDERS"))
        else:
            stale = "" if problem is None else state_markup("error", "Not refreshed", problem)
            self.out.put("providers.table", stale + provider_table(rows, operates=self.session.visitor.operates))

    def act(self, verb: str, values: Mapping[str, str]) -> None:
        name = values.get("name", "")
        rows, _ = self.session.app_context.inspection.providers.look()
        if verb not in ("trip", "reset") or name not in {row.name for row in rows or ()}:
            return
        self.session.in_background(
            lambda: self._send(verb, name),
            lambda _nothing: self.session.notify("success", say("{name}: breaker opened" if verb == "trip" else "{name}: breaker closed", name=name)),
            lambda error: self.session.notify("error", say("Could not {verb} {name}: {error}", verb=say(verb), name=name, error=error)),
        )

    def _send(self, verb: str, name: str) -> None:
        client = cast("ControlClient", self.session.app_context.connect())
        try:
            if verb == "trip":
                client.trip_breaker(name, f"on the page, by {self.session.visitor.name}")
            else:
                client.reset_breaker(name)
        finally:
            client.close()
            self.session.app_context.inspection.providers.expire()


KIND = PageKind("providers", "providers", providers_frame, ProvidersPage)
