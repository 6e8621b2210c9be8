"""Fault 30 in a whole pipeline: a process is stopped (SIGSTOP) and continued, and all others react as in operation."""

from __future__ import annotations

import threading

import pytest

from tests.chaos.pipeline_rig import CONTROLLER, assert_exact, in_order, live, process_of, stopped, ticks_since
from tests.support.pipeline import Demo
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

SCRAPER, COLLECTOR = "scraper/coingecko", "collector"
SHORT = [pytest.param(name, 7.0, marks=pytest.mark.short) for name in (SCRAPER, CONTROLLER)]
"""Longer than a transaction may last and a probe is waited for."""
LONG = [(name, seconds) for name in (SCRAPER, COLLECTOR, CONTROLLER) for seconds in (5.0, 20.0, 60.0, 120.0)]


@pytest.mark.parametrize(("name", "seconds"), [*SHORT, *LONG])
def test_a_process_that_was_stopped_loses_and_doubles_nothing(demo: Demo, name: str, seconds: float) -> None:
    eventually(lambda: in_order(demo), 120, 0.5)
    with stopped(process_of(demo, name)):
        begun = max(record.tick_ts for record in live(demo))
        threading.Event().wait(seconds)
        during = eventually(lambda: ticks_since(demo, begun), 60, 0.5) if name != COLLECTOR else ticks_since(demo, begun)
    eventually(lambda: in_order(demo), 240, 0.5)
    now = max(record.tick_ts for record in live(demo))
    eventually(lambda: len(ticks_since(demo, now)) >= 6, 120, 0.5)
    # Prices continued: from the other provider, or unaffected. Without the collector nothing is published, until the controller has replaced it.
    if name != COLLECTOR:
        assert during
    elif seconds <= 20:
        assert not during

    assert_exact(demo)
