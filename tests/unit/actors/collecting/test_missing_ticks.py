"""What a record tells of lost ticks, and until when."""

from __future__ import annotations

from actors.collecting.missing_ticks import LostTicks

STEP = 60_000


def test_runs_are_told_until_a_record_that_has_them_is_published() -> None:
    lost = LostTicks(STEP)
    assert lost.tell(0) == []
    for tick in (1, 2, 4):
        lost.add(tick * STEP)
    spans = [[STEP, 2 * STEP, STEP], [4 * STEP, 4 * STEP, STEP]]
    assert lost.tell(6 * STEP) == spans
    assert lost.tell(7 * STEP) == spans
    lost.published(5 * STEP)  # made before the loss
    assert lost.tell(8 * STEP) == spans
    lost.add(3 * STEP)
    lost.published(7 * STEP)
    assert lost.tell(9 * STEP) == [[3 * STEP, 3 * STEP, STEP]]
    lost.published(9 * STEP)
    assert lost.tell(10 * STEP) == []
