"""The chart of a page that stays open: older candles come from the lake again when the process no longer keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

from cryptoviz.settings import load_settings
from dashboard.outbox import Outbox
from dashboard.page_session import Session
from dashboard.pages.chart_part import ChartPart
from dashboard.shared_state import LiveState, Wakeups
from dashboard.views.candles import Candle
from dashboard.views.texts import ENGLISH
from tests.support.clock import FakeClock
from tests.unit.dashboard.records import NOW_MS, a_record

MINUTE_MS = 60_000
FIRST_MS = NOW_MS // MINUTE_MS * MINUTE_MS
KEPT = 1_500
"""Live candles of an interval that a process keeps."""


class Lake:
    """Has a candle of each minute until the clock's."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.reads = clock, 0
        self.found: dict[str, dict[int, int]] = {}

    def candles(self, _asset: str, _interval: str, since_ms: int) -> Future[Mapping[str, Sequence[Candle]]]:
        self.reads += 1
        starts = range(since_ms, self.clock.now_ms() // MINUTE_MS * MINUTE_MS + 1, MINUTE_MS)
        return done({"USD": [Candle(start, 1.0, 1.0, 1.0, 1.0, None, 1) for start in starts]})

    def marks(self, *_: Any) -> Future[dict[str, dict[int, int]]]:
        return done(self.found)


def done(result: Any) -> Future[Any]:
    made: Future[Any] = Future()
    made.set_result(result)
    return made


class Visit:
    def __init__(self) -> None:
        self.clock = FakeClock(FIRST_MS)
        self.live, self.lake, self.out = LiveState(Wakeups(), self.clock.now_ms), Lake(self.clock), Outbox()
        context = SimpleNamespace(settings=load_settings(), live=self.live, history=self.lake, trades=None)
        session = SimpleNamespace(app_context=context, out=self.out, now_ms=self.clock.now_ms, when_done=self._at_once)
        self.tick()
        self.chart = ChartPart(cast("Session", session), "bitcoin", "1m", ENGLISH)

    def _at_once(self, future: Future[Any], then: Callable[[Any], None], failed: Callable[[Exception], None]) -> None:
        then(future.result())

    def tick(self) -> None:
        self.live.apply([a_record(tick_ts=self.clock.now_ms(), price=1.0)])

    def minutes(self, count: int) -> None:
        for _ in range(count):
            self.clock.advance(60)
            self.tick()

    def shown(self) -> list[int]:
        """Starts of the candles that the browser would be sent as a whole."""
        self.chart.forget()
        self.chart.refresh()
        return cast("list[int]", self.out.take()[0]["chart"]["columns"][0])


def gaps(starts: Sequence[int]) -> list[int]:
    return [after for before, after in pairwise(starts) if after - before != MINUTE_MS]


def test_a_page_that_stays_open_for_days_has_no_hole_in_its_chart() -> None:
    visit = Visit()
    assert gaps(visit.shown()) == []
    for _ in range(2):
        visit.minutes(KEPT)
        shown = visit.shown()
        assert gaps(shown) == []
        assert shown[-1] == visit.clock.now_ms()


def test_the_lake_is_not_read_again_before_that() -> None:
    visit = Visit()
    visit.shown()
    visit.minutes(KEPT - 2)
    visit.shown()
    assert visit.lake.reads == 1


def test_scrolling_back_sends_the_older_candles_alone() -> None:
    visit = Visit()
    visit.chart.refresh()
    first = visit.out.take()[0]["chart"]["columns"][0]
    assert (len(first), first[-1]) == (501, FIRST_MS)
    visit.minutes(1)
    visit.chart.older()
    visit.chart.refresh()
    sent = visit.out.take()[0]["chart"]
    assert "columns" not in sent
    # 8 times as many, to the newest, which began after the first read.
    assert sent["older"][0] == list(range(FIRST_MS - 3_999 * MINUTE_MS, first[0], MINUTE_MS))
    assert [row[0] for row in sent["tail"]] == [FIRST_MS + MINUTE_MS]
    assert sent["more"] is True
    visit.chart.refresh()
    assert "chart" not in visit.out.take()[0]


def test_the_last_step_back_says_that_there_are_no_more_even_without_older_candles() -> None:
    visit = Visit()
    for _ in range(3):
        visit.chart.older()
        visit.chart.refresh()
    assert visit.out.take()[0]["chart"]["more"] is False


def test_marks_of_stored_ticks_are_sent_apart_and_again_with_the_whole_chart() -> None:
    visit = Visit()
    visit.lake.found = {"USD": {FIRST_MS - 7 * MINUTE_MS: 3}}
    visit.chart.older()
    visit.chart.refresh()
    key = visit.out.take()[0]["chart.marks"]
    assert key == {"key": "bitcoin:1m:USD:", "marks": [(FIRST_MS - 7 * MINUTE_MS, 3)]}
    visit.chart.refresh()
    assert "chart.marks" not in visit.out.take()[0]
    visit.chart.forget()
    visit.chart.refresh()
    parts = visit.out.take()[0]
    assert (list(parts)[-2:], parts["chart.marks"]) == (["chart", "chart.marks"], key)


def test_the_caption_leaves_the_clock_to_the_browser() -> None:
    visit = Visit()
    visit.chart.choose("bitcoin", "1d")
    visit.chart.refresh()
    caption = visit.out.take()[0]["chart.caption"]
    assert '<cv-zone data-step="86400000"></cv-zone>' in caption
    assert "UTC" not in caption
