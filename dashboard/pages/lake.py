"""The lake page: totals, gaps, days, SQL, and the provenance of a price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from cryptoviz.components import MAINTENANCE
from cryptoviz.times import epoch_ms
from dashboard.page_session import Session
from dashboard.pages.page import Page, PageKind
from dashboard.pages.sql_part import SqlPart
from dashboard.pages.trace_part import TracePart
from dashboard.views.explore_frames import lake_frame
from dashboard.views.lake_rows import LakeDay, day_table, gap_strip, total_line
from dashboard.views.link import Link
from dashboard.views.placeholders import state_markup

__all__ = ["KIND", "LakePage"]

_AGE = "last_round_age_s"
_REPORTED_LATE_MS = 5_000
"""The age is that of the last probe, which is some seconds old."""


class LakePage(Page):
    """Verbs: run_sql (sql), cancel_sql, download_sql (kind), trace (asset, at)."""

    def __init__(self, session: Session, link: Link) -> None:
        super().__init__(session, link)
        self._sql = SqlPart(session)
        self._trace = TracePart(session)
        self._maintained: int | None = None

    def refresh(self) -> None:
        app_context = self.session.app_context
        days, problem = app_context.inspection.days.look()
        gaps, gaps_problem = app_context.inspection.gaps.look()
        if days:
            self.out.put("lake.line", total_line(days, self._maintained_ms()))
            if gaps_problem is not None:
                self.out.put("lake.strip", state_markup("error", "Cannot read the gaps", gaps_problem))
            elif gaps is not None:
                count = len(app_context.settings.assets)
                self.out.put("lake.strip", gap_strip(gaps, self.session.now_ms() // 60_000 * 60_000, app_context.tick_ms, count, _first_ms(days)))
            stale = "" if problem is None else state_markup("error", "Not refreshed", problem)
            self.out.put("lake.days", stale + day_table(days))
        elif problem is not None:
            self.out.put("lake.line", state_markup("error", "Cannot read the lake", problem))
            self.out.put("lake.days", "")
        elif days is not None:
            self.out.put("lake.line", state_markup("empty", "No rows in the lake yet", "The first commit follows a batch after the first prices."))
            self.out.put("lake.days", "")
        self._sql.refresh()
        self._trace.refresh()
        self.out.put("lake.provenance", self._trace.markup)

    def act(self, verb: str, values: Mapping[str, str]) -> None:
        if verb == "run_sql":
            self._sql.run(values.get("sql", ""))
        elif verb == "cancel_sql":
            self._sql.cancel()
        elif verb == "download_sql":
            self._sql.download(values.get("kind", ""))
        elif verb == "trace":
            self._trace.start(values.get("asset", "").strip().lower() or self.link.coin, values.get("at", "").strip())

    def _maintained_ms(self) -> int | None:
        """When maintenance last ran, UTC epoch ms; None if it has not. It is kept while the age that is reported agrees with it."""
        pipeline, _ = self.session.app_context.control.read()
        component = pipeline.component(MAINTENANCE) if pipeline is not None else None
        age_s = None if component is None else component.metrics.get(_AGE)
        if age_s is None:
            return None
        found = self.session.now_ms() - round(age_s * 1000)
        if self._maintained is None or abs(found - self._maintained) > _REPORTED_LATE_MS:
            self._maintained = found
        return self._maintained


def _first_ms(days: Sequence[LakeDay]) -> int | None:
    """The first row of the prices, or the begin of its day, UTC epoch ms; None without prices."""
    first = min((day for day in days if day.table == "prices"), key=lambda day: day.day, default=None)
    if first is None or first.first_ms is not None:
        return None if first is None else first.first_ms
    return epoch_ms(datetime(first.day.year, first.day.month, first.day.day, tzinfo=UTC))


KIND = PageKind("lake", "lake", lake_frame, LakePage)
