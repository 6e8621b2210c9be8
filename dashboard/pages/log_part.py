"""The log tail of the pipeline page: the last lines of the chosen component, read again while it is shown."""

from __future__ import annotations

from functools import partial

from dashboard.page_session import Session
from dashboard.views.log_lines import log_markup
from dashboard.views.markup import element, text
from dashboard.views.placeholders import state_markup
from dashboard.views.texts import say

__all__ = ["LogPart"]

_LINES = 200
_EVERY_MS = 2_000


class LogPart:
    """Nothing is read until a component is chosen."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._name = ""
        self._next_ms = 0
        self._reading = False
        self._markup = state_markup("empty", "No log chosen", "The button Log of a component shows its last lines.")

    def choose(self, name: str) -> None:
        """Follow the log of a component, which exists."""
        if name != self._name:
            self._name, self._next_ms, self._reading = name, 0, False
            self._markup = state_markup("loading", say("Reading the log of {name}", name=name))

    def refresh(self) -> None:
        out = self._session.out
        out.put("pipeline.logname", element("span", text(self._name and say("{name}, last {count} lines", name=self._name, count=_LINES)), "cv-note"))
        out.put("pipeline.log", self._markup)
        now_ms = self._session.now_ms()
        if not self._name or self._reading or now_ms < self._next_ms:
            return
        self._reading = True
        name, inspection = self._name, self._session.app_context.inspection
        self._session.in_background(
            lambda: inspection.log_lines(name, _LINES), partial(self._loaded, name), partial(self._failed, name), inspection.workers
        )

    def _loaded(self, name: str, lines: list[str]) -> None:
        self._ended(name, log_markup(lines) if lines else state_markup("empty", "The log is empty"))

    def _failed(self, name: str, error: Exception) -> None:
        self._ended(name, state_markup("error", say("Cannot read the log of {name}", name=name), str(error)))

    def _ended(self, name: str, markup: str) -> None:
        if name == self._name:
            self._markup, self._reading, self._next_ms = markup, False, self._session.now_ms() + _EVERY_MS
