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

    def candles(self, _asset: str, _interval: str, since_ms: int) -> Future[Mapping[str, Sequence[Candle]]]:
        self.reads += 1
        starts = range(since_ms, self.clock.now_ms() // MINUTE_MS * MINUTE_MS + 1, MINUTE_MS)
        return done({"USD": [Candle(start, 1.0, 1.0, 1.0, 1.0, None, 1) for start in starts]})

    def marks(self, *_: Any) -> Future[dict[str, dict[int, int]]]:
        return done({})


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
