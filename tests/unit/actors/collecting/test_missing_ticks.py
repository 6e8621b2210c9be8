"""Reports of missing ticks, and when they end."""

from __future__ import annotations

from actors.collecting.missing_ticks import MissingTicks

STEP = 60_000


def test_missing_ticks_are_reported_until_a_record_with_them_is_published() -> None:
    missing = MissingTicks(STEP)
    assert missing.report(0) == []
    for tick in (1, 2, 4):
        missing.add(tick * STEP)
    spans = [[STEP, 2 * STEP, STEP], [4 * STEP, 4 * STEP, STEP]]
    assert missing.report(6 * STEP) == spans
    assert missing.report(7 * STEP) == spans
    missing.published(5 * STEP)  # the record was made before the loss
    assert missing.report(8 * STEP) == spans
    missing.add(3 * STEP)
    missing.published(7 * STEP)
    assert missing.report(9 * STEP) == [[3 * STEP, 3 * STEP, STEP]]
    missing.published(9 * STEP)
    assert missing.report(10 * STEP) == []
