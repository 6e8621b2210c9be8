"""The lake page says what it cannot read, and when maintenance last ran."""

from __future__ import annotations

from contextvars import copy_context
from dataclasses import replace
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any, cast

from cryptoviz.components import MAINTENANCE
from cryptoviz.settings import load_settings
from cryptoviz.times import epoch_ms
from dashboard.outbox import Outbox
from dashboard.page_session import Session
from dashboard.pages.lake import LakePage
from dashboard.views.lake_rows import LakeDay
from dashboard.views.link import Link
from dashboard.views.texts import speak
from tests.support.clock import FakeClock
from tests.unit.dashboard.records import NOW_MS

DAY = LakeDay("prices", date(2026, 1, 31), 1, 0, 1024, 17)


class Visit:
    """A lake with a day of rows. `gaps`: what the ledger gives; `age_s`: of the last round of maintenance, None before it."""

    def __init__(self, *, gaps: tuple[Any, str | None] = ([], None), age_s: float | None = None, days: tuple[LakeDay, ...] = (DAY,)) -> None:
        self.clock, self.out, self.age_s = FakeClock(NOW_MS), Outbox(), age_s
        inspection = SimpleNamespace(days=SimpleNamespace(look=lambda: (list(days), None)), gaps=SimpleNamespace(look=lambda: gaps))
        context = SimpleNamespace(settings=load_settings(), inspection=inspection, control=SimpleNamespace(read=self._status), tick_ms=2000)
        session = SimpleNamespace(app_context=context, out=self.out, now_ms=self.clock.now_ms, when_closed=lambda _call: None)
        self.page = LakePage(cast("Session", session), Link("bitcoin", "1m", "lake"))

    def _status(self) -> tuple[Any, None]:
        metrics = {} if self.age_s is None else {"last_round_age_s": self.age_s}
        return SimpleNamespace(component=lambda name: SimpleNamespace(metrics=metrics) if name == MAINTENANCE else None), None

    def parts(self) -> dict[str, str]:
        self.page.refresh()
        return cast("dict[str, str]", self.out.take()[0])


def test_a_ledger_that_cannot_be_read_is_said_and_not_left_out() -> None:
    strip = Visit(gaps=(None, "the table gaps is damaged")).parts()["lake.strip"]
    assert "Cannot read the gaps" in strip
    assert "the table gaps is damaged" in strip
    assert "cv-gap-strip" in Visit().parts()["lake.strip"]


def test_hours_before_the_first_row_are_empty_and_not_without_gaps() -> None:
    at_five = epoch_ms(datetime(2026, 1, 31, 5, 59, tzinfo=UTC))
    until_s = (epoch_ms(datetime(2026, 1, 31, 7, 30, tzinfo=UTC)) - NOW_MS) / 1000

    def shown(first_ms: int | None) -> int:
        visit = Visit(days=(replace(DAY, first_ms=first_ms), replace(DAY, table="raw", first_ms=at_five - 3_600_000)))
        visit.clock.advance(until_s)
        return visit.parts()["lake.strip"].count("data-share")

    assert (shown(at_five), shown(None)) == (3, 8)


def test_the_last_maintenance_is_a_moment_that_stays() -> None:
    visit = Visit(age_s=90.0)
    assert f'data-tick="{NOW_MS - 90_000}"' in visit.parts()["lake.line"]
    visit.clock.advance(1)  # the next probe has not come yet
    assert "lake.line" not in visit.parts()
    visit.age_s = 0.5
    assert f'data-tick="{NOW_MS + 500}"' in visit.parts()["lake.line"]


def test_it_is_french_on_a_french_page() -> None:
    def line(age_s: float | None) -> str:
        speak("fr")
        return Visit(age_s=age_s).parts()["lake.line"]

    assert "dernière maintenance il y a <cv-age" in copy_context().run(line, 90.0)
    assert "la maintenance n&#x27;a pas encore eu lieu" in copy_context().run(line, None)
