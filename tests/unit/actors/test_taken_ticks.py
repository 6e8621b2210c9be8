"""Taken ticks after leaps: no tick is taken twice, in any order of ticks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.taken_ticks import LEAP_MS, Leap, TakenTicks

TICK = 60_000
NOW = 30_000 * TICK


@given(st.lists(st.integers(0, 60_000).map(lambda number: number * TICK), max_size=40))
def test_taken_ticks_remain_taken(offered: list[int]) -> None:
    taken, done = TakenTicks(), set[int]()
    for tick in offered:
        if not taken.has(tick):
            assert tick not in done
            done.add(tick)
            taken = taken.taking(tick)
        assert all(taken.has(one) for one in done)
        assert TakenTicks.of(taken.newest, [list(leap) for leap in taken.leaps]) == taken


def test_ticks_inside_a_leap_are_free_except_its_last_day() -> None:
    taken = TakenTicks().taking(NOW).taking(NOW + 3 * LEAP_MS)
    assert taken.leaps == (Leap(NOW, NOW + 2 * LEAP_MS, NOW + 3 * LEAP_MS),)
    assert [taken.has(NOW + ms) for ms in (-TICK, 0, TICK, 2 * LEAP_MS - TICK, 2 * LEAP_MS, 3 * LEAP_MS, 3 * LEAP_MS + TICK)] == [
        True, True, False, False, True, True, False,
    ]  # fmt: skip
    taken = taken.taking(NOW + LEAP_MS)
    assert taken.leaps == (Leap(NOW + LEAP_MS, NOW + 3 * LEAP_MS, NOW + 3 * LEAP_MS),)
    assert [taken.has(NOW + ms) for ms in (TICK, LEAP_MS, LEAP_MS + TICK, 2 * LEAP_MS, 3 * LEAP_MS)] == [True, True, False, False, True]


def test_the_first_free_tick() -> None:
    taken = TakenTicks().taking(NOW).taking(NOW + 3 * LEAP_MS)
    assert TakenTicks().first_free(NOW, TICK) == NOW
    assert taken.first_free(NOW - 60 * TICK, TICK) == NOW + TICK
    assert taken.first_free(NOW + TICK, TICK) == NOW + TICK
    assert taken.first_free(NOW + 2 * LEAP_MS, TICK) == NOW + 3 * LEAP_MS + TICK
    assert (taken.before(NOW + TICK), taken.before(NOW + 3 * LEAP_MS), TakenTicks().before(NOW)) == (NOW, NOW + 3 * LEAP_MS, None)


def test_a_day_is_not_a_leap_and_only_the_newest_leaps_are_kept() -> None:
    assert not TakenTicks().taking(NOW).taking(NOW + LEAP_MS).leaps
    taken = TakenTicks()
    for number in range(20):
        taken = taken.taking(NOW + number * 2 * LEAP_MS)
    assert [leap.low for leap in taken.leaps] == [NOW + number * 2 * LEAP_MS for number in range(18, 10, -1)]


def test_initial_state_has_no_recent_taken_ticks() -> None:
    taken = TakenTicks.since(NOW, TICK)
    assert [taken.has(NOW - ms) for ms in (0, TICK, LEAP_MS, LEAP_MS + TICK)] == [False, True, True, False]
