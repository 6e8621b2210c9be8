from __future__ import annotations

from actors.streaming.log_pause import LogPause
from tests.support.clock import FakeClock


def test_the_first_one_passes_and_then_one_a_minute() -> None:
    clock = FakeClock()
    pause = LogPause(clock)
    passed = []
    for second in range(181):
        if pause.over():
            passed.append(second)
        assert not pause.over()
        clock.advance(1)
    assert passed == [0, 60, 120, 180]
