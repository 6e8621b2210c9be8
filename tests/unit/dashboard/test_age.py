"""Ages are markup with the tick; the browser computes them (see tests/browser/test_freshness.py)."""

from __future__ import annotations

import pytest

from dashboard.views.markup import age_element, duration_element


@pytest.mark.parametrize("tick_ms", [2_000, 60_000])
def test_an_age_is_judged_in_ticks(tick_ms: int) -> None:
    live, late = 2 * tick_ms, 5 * tick_ms
    assert age_element(7, tick_ms, "c") == f'<cv-age class="c" data-tick="7" data-live="{live}" data-late="{late}"></cv-age>'


def test_no_row_has_no_tick() -> None:
    assert "data-tick" not in age_element(None, 2_000, "c", words=True)


def test_a_duration_is_not_judged() -> None:
    assert duration_element(7, "c", "t") == '<cv-age class="c" data-tick="7" title="t"></cv-age>'
