"""The Markets page: the coin table with its filters, and the market at a glance. The coin chosen in it is shown beside it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import orjson

from cryptoviz.records import UnifiedRecord
from dashboard.page_session import Session
from dashboard.pages.page import Page, PageKind
from dashboard.shared_state import CONNECTING
from dashboard.views.link import Link
from dashboard.views.market_rows import FIELDS, SparkLine, by_rank, market_row, spark
from dashboard.views.market_summary import summarize, summary_strip
from dashboard.views.markets_frame import markets_frame
from dashboard.views.placeholders import waiting_markup
from dashboard.views.texts import texts

__all__ = ["KIND", "MarketsPage"]

_HOUR_MS, _WEEK_MS = 3_600_000, 604_800_000
_SPARK_TICKS, _SPARK_STEP = 180, 3
"""Recent ticks of a sparkline, while the lake has no week: every third of them, since the page carries them."""
_SPARKS_MS = 30_000
"""How often sparklines are drawn again; the table appends the newest price itself."""


class MarketsPage(Page):
    """Sends all rows once, then those that changed."""

    def __init__(self, session: Session, link: Link) -> None:
        super().__init__(session, link)
        self._texts = texts(link.language)
        self._version = -1
        self._next_sparks_ms = 0
        self._lines: Mapping[str, Mapping[str, SparkLine]] = {}

    def forget(self) -> None:
        self._version = -1

    def refresh(self) -> None:
        app_context = self.session.app_context
        live = app_context.live
        version, changed = live.changed_since(self._version)
        if changed:
            derived = app_context.derived
            self.out.put_once(
                "coins", derived.get(("coins", self._version, version), partial(_coins, changed, self._version < 0, app_context.tick_ms))
            )
            summary = derived.get(("summary", version), lambda: summarize(live.latest().values()))
            self.out.put("market.summary", summary_strip(summary, self._texts))
            self.out.put("market.waiting", "")
        elif self._version < 0:
            pipeline, lost = app_context.control.read()
            self.out.put("market.waiting", waiting_markup(pipeline, None if lost == CONNECTING else lost))
            return
        self._version = version
        self._refresh_sparks()

    def _refresh_sparks(self) -> None:
        now_ms = self.session.now_ms()
        if now_ms < self._next_sparks_ms:
            return
        self._next_sparks_ms = now_ms + _SPARKS_MS
        self._put_sparks()
        since_ms = now_ms // _HOUR_MS * _HOUR_MS - _WEEK_MS
        self.session.when_done(self.session.app_context.history.lines(since_ms), self._loaded, lambda _error: None)

    def _loaded(self, lines: Mapping[str, Mapping[str, SparkLine]]) -> None:
        self._lines = lines
        self._put_sparks()

    def _put_sparks(self) -> None:
        live = self.session.app_context.live
        found = {}
        for asset_id, record in live.latest().items():
            week = self._lines.get(asset_id, {}).get(record.quote_currency)
            line = spark(week, () if week else live.recent_prices(asset_id, _SPARK_TICKS)[::_SPARK_STEP])
            if line is not None:
                found[asset_id] = line
        self.out.put("sparks", found)


def _coins(changed: list[UnifiedRecord], whole: bool, tick_ms: int) -> orjson.Fragment:
    """JSON of the rows; a session that lags gets a result of its own."""
    rows = [market_row(record) for record in (by_rank(changed) if whole else changed)]
    return orjson.Fragment(orjson.dumps({"fields": FIELDS, "rows": rows, "whole": whole, "tick_ms": tick_ms}))


KIND = PageKind("market", "market", markets_frame, MarketsPage, beside="coin")
