from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from actors.fetching.hold_off import HoldOff, MinIntervalLimiter
from cryptoviz.records import FallbackReason
from tests.support.clock import FakeClock


async def test_calls_keep_their_distance():
    clock = FakeClock(0)
    limiter = MinIntervalLimiter(2.0, clock)
    starts = []
    for _ in range(3):
        await limiter.acquire()
        starts.append(clock.monotonic_s())
    clock.ms += 10_000
    await limiter.acquire()
    starts.append(clock.monotonic_s())
    assert starts == [0.0, 2.0, 4.0, 14.0]


async def test_waiting_callers_go_one_after_the_other():
    clock = FakeClock(0)
    limiter = MinIntervalLimiter(1.0, clock)
    await asyncio.gather(*(limiter.acquire() for _ in range(4)))
    assert clock.monotonic_s() == 3.0


def test_hold_off_outlives_its_process(tmp_path: Path):
    path = tmp_path / "run" / "hold-off.json"
    first = HoldOff(path)
    first.load()
    assert first.active(1000) is None
    first.impose(FallbackReason.QUOTA, 5.0, 1000)
    successor = HoldOff(path)
    successor.load()
    assert successor.active(2000) == (FallbackReason.QUOTA, 4.0)
    assert successor.active(6000) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"until_ms": "x", "reason": "quota"}', '{"until_ms": 9999, "reason": "whim"}'])
def test_an_unreadable_file_is_no_wait(tmp_path: Path, text: str):
    path = tmp_path / "hold-off.json"
    path.write_text(text)
    hold_off = HoldOff(path)
    hold_off.load()
    assert hold_off.active(0) is None
