"""Where a price comes from: traced in the lake, for the Lake page and for the panel that a click on a price opens."""

from __future__ import annotations

from cryptoviz.lake.provenance import Provenance
from cryptoviz.times import typed_ms
from dashboard.page_session import Session
from dashboard.views.placeholders import state_markup
from dashboard.views.provenance_rows import provenance_markup
from dashboard.views.texts import say

__all__ = ["TracePart"]

_COMING_MS = 60_000
"""A tick that is not older may still be on its way to the lake: it is looked for again. So may one of a collector whose clock is ahead."""
_AGAIN_MS = 1_000


class TracePart:
    """The last trace of a page."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._asked = 0
        self._again: tuple[int, str, int] | None = None  # when, coin, tick
        self.markup = ""
        self.changed = False
        """Set with each new content; the page resets it."""

    def refresh(self) -> None:
        """Look again for what was not in the lake yet."""
        if self._again is not None and self._session.now_ms() >= self._again[0]:
            _, asset, tick_ms = self._again
            self._again = None
            self._find(asset, tick_ms)

    def start(self, asset: str, at: str) -> None:
        """Trace a tick, the newest if `at` is empty. Untrusted."""
        known = {one.asset_id for one in self._session.app_context.settings.assets}
        self._asked += 1
        self._again = None
        self.markup = ""  # a panel that is opened again gets it again
        if asset not in known:
            self._show(state_markup("error", "No such coin", say("Valid are {names}.", names=", ".join(sorted(known)))))
            return
        tick_ms: int | None = None
        if at:
            tick_ms = int(at) if at.isascii() and at.isdecimal() and len(at) < 15 else typed_ms(at)
            if tick_ms is None:
                self._show(state_markup("error", "Not a time", "Write a tick such as 2026-01-31T12:00:00Z, or nothing for the newest."))
                return
        self._show(state_markup("loading", say("Tracing {asset}", asset=asset)))
        self._find(asset, tick_ms)

    def _find(self, asset: str, tick_ms: int | None) -> None:
        number = self._asked
        inspection = self._session.app_context.inspection

        def find() -> Provenance | None:
            tick = inspection.lake.newest_tick(asset) if tick_ms is None else tick_ms
            return None if tick is None else inspection.lake.trace(asset, tick)

        def found(one: Provenance | None) -> None:
            if number != self._asked:
                return
            now_ms = self._session.now_ms()
            coming = tick_ms is not None and abs(now_ms - tick_ms) < _COMING_MS
            if coming and tick_ms is not None and (one is None or one.exchange is None):
                self._again = (now_ms + _AGAIN_MS, asset, tick_ms)
            if one is not None:
                self._show(provenance_markup(one.price, one.exchange))
            elif coming:
                self._show(state_markup("loading", "Not in the lake yet", say("{asset}: the next commit brings it.", asset=asset)))
            else:
                self._show(
                    state_markup("empty", "The lake has no such row", say("{asset}: no price at that tick (yet); ticks are exact.", asset=asset))
                )

        def failed(error: Exception) -> None:
            if number == self._asked:
                self._show(state_markup("error", "Cannot read the lake", str(error)))

        self._session.in_background(find, found, failed, inspection.workers)

    def _show(self, markup: str) -> None:
        self.changed |= markup != self.markup
        self.markup = markup
