from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoviz.errors import RecordError
from cryptoviz.trades.gap_tracker import GapTracker, MissingRun, TrackerState
from cryptoviz.trades.gaps import TradeGap
from cryptoviz.trades.id_runs import IdRun, runs_of
from cryptoviz.trades.record import Source
from tests.unit.trades.builders import SECOND_US, START_US, trade

NOW_US = START_US + 3_600 * SECOND_US


def tracker(**limits) -> GapTracker:
    return GapTracker("acme", "A", **limits)


def numbers(trades) -> list[int]:
    return [each.trade_number for each in trades]


def brief(gap: TradeGap) -> tuple[int, int, str, int]:
    return gap.first_id, gap.last_id, gap.state, gap.missing


def test_consecutive_trades_are_new_and_a_repeated_one_is_a_double():
    one = tracker()
    assert numbers(one.accept([trade(5), trade(6)], NOW_US).new) == [5, 6]
    again = one.accept([trade(6), trade(7)], NOW_US)
    assert (numbers(again.new), again.duplicates, again.gaps) == ([7], 1, [])


def test_a_jump_opens_a_gap_that_ends_when_the_ids_meet():
    one = tracker()
    one.accept([trade(5)], NOW_US)
    (opened,) = one.accept([trade(9)], NOW_US).gaps
    assert brief(opened) == (6, 8, "open", 3)
    assert (opened.from_us, opened.to_us, opened.opened_us) == (START_US + 5 * SECOND_US, START_US + 9 * SECOND_US, NOW_US)
    assert one.missing() == [MissingRun(IdRun(6, 8), (opened.from_us, opened.to_us), NOW_US)]
    some = one.accept([trade(7, source=Source.REFILL)], NOW_US + 1)
    assert [brief(gap) for gap in some.gaps] == [(6, 8, "open", 2)]
    rest = one.accept([trade(6, source=Source.REFILL), trade(8)], NOW_US + 2)
    assert numbers(rest.new) == [6, 8]
    (closed,) = rest.gaps
    assert (brief(closed), closed.refilled, closed.late, closed.closed_us) == ((6, 8, "refilled", 0), 2, 1, NOW_US + 2)
    assert one.open_gaps() == []
    assert closed.gap_id == opened.gap_id


def test_trades_newest_first_in_a_frame_open_no_gap():
    one = tracker()
    assert one.accept([trade(9), trade(8), trade(7)], NOW_US).gaps == []
    assert one.high == 9


def test_a_voided_row_is_no_trade_and_no_gap():
    one = tracker()
    one.accept([trade(5)], NOW_US)
    result = one.accept([trade(7)], NOW_US, voided=[6])
    assert (numbers(result.new), result.gaps) == ([7], [])
    assert one.accept([], NOW_US, voided=[6]).duplicates == 0


def test_ids_that_meet_across_a_silence_are_a_halt_and_no_gap():
    one = tracker(halt_after_us=600 * SECOND_US)
    one.accept([trade(5, at_s=0)], NOW_US)
    (halt,) = one.accept([trade(6, at_s=600)], NOW_US).gaps
    assert (brief(halt), halt.from_us, halt.to_us) == ((5, 6, "halt", 0), START_US, START_US + 600 * SECOND_US)
    assert one.accept([trade(7, at_s=1199)], NOW_US).gaps == []


def test_what_the_venue_no_longer_gives_is_permanent_with_its_reason():
    one = tracker()
    one.accept([trade(5), trade(9)], NOW_US)
    partly = one.give_up(IdRun(7, 7), "not_at_venue", NOW_US)
    assert [brief(gap) for gap in partly.gaps] == [(6, 8, "open", 3)]
    (closed,) = one.accept([trade(6), trade(8)], NOW_US).gaps
    assert (brief(closed), closed.reason, closed.late) == ((6, 8, "permanent", 1), "not_at_venue", 2)


def test_the_venues_last_number_opens_a_gap_at_the_end_and_the_next_trade_bounds_it():
    one = tracker()
    one.accept([trade(5)], NOW_US)
    assert one.expect(5, NOW_US).gaps == []
    (gap,) = one.expect(7, NOW_US, START_US + 20 * SECOND_US).gaps
    assert (brief(gap), gap.to_us) == ((6, 7, "open", 2), None)
    assert one.seen_us == START_US + 20 * SECOND_US
    one.accept([trade(8)], NOW_US)
    assert one.missing()[0].around_us == (START_US + 5 * SECOND_US, START_US + 8 * SECOND_US)


def test_the_first_number_of_a_new_symbol_may_be_the_venues_word_or_a_trade_out_of_order():
    one = tracker()
    one.expect(4, NOW_US)
    assert numbers(one.accept([trade(5)], NOW_US).new) == [5]
    assert numbers(one.accept([trade(4)], NOW_US).new) == [4]
    result = one.accept([trade(2)], NOW_US)
    assert [brief(gap) for gap in result.gaps] == [(3, 3, "open", 1)]
    far = one.accept([trade(2 - 1_001)], NOW_US)
    assert (far.new, far.early) == ([], 1)


def test_after_a_restart_recorded_trades_are_doubles_and_the_next_jump_is_a_gap():
    one = GapTracker.after("acme", "A", 10, START_US)
    result = one.accept([trade(9), trade(10), trade(12)], NOW_US)
    assert (numbers(result.new), result.early + result.duplicates) == ([12], 2)
    assert [brief(gap) for gap in result.gaps] == [(11, 11, "open", 1)]
    assert result.gaps[0].from_us == START_US


def test_a_state_is_json_and_continues_with_its_open_gaps():
    one = tracker()
    one.accept([trade(5), trade(9)], NOW_US)
    two = tracker(state=TrackerState.from_json(one.state().to_json()))
    assert two.missing() == one.missing()
    assert numbers(two.accept([trade(5), trade(7)], NOW_US).new) == [7]
    assert numbers(one.accept([trade(7)], NOW_US).new) == [7]  # a copy: the first tracker is unchanged
    with pytest.raises(RecordError, match="state"):
        TrackerState.from_json(b"{}")


def test_a_trade_of_another_symbol_is_refused():
    with pytest.raises(ValueError, match="valid is a trade with a number of acme B"):
        GapTracker("acme", "B").accept([trade(1)], NOW_US)


def test_with_too_many_runs_trades_are_left_to_the_refill_and_none_is_lost():
    one = tracker(max_runs=2)
    one.accept([trade(1)], NOW_US)
    assert numbers(one.accept([trade(3), trade(5)], NOW_US).new) == [3, 5]
    over = one.accept([trade(7), trade(8)], NOW_US)
    assert (over.new, over.deferred) == ([], 2)
    assert [missing.run for missing in one.missing()] == [IdRun(2, 2), IdRun(4, 4), IdRun(6, 8)]
    page = [trade(number, source=Source.REFILL) for number in range(2, 9)]
    filled = one.accept(page, NOW_US)
    assert numbers(filled.new) == [2, 4, 6, 7, 8]
    assert (one.missing(), one.high) == ([], 8)
    assert numbers(one.accept([trade(9)], NOW_US).new) == [9]


@st.composite
def deliveries(draw):
    """Served ids 1 to n, in frames with drops, duplicates and reorder; then refills of arbitrary pages, some of which do not arrive."""
    served = list(range(1, draw(st.integers(1, 60)) + 1))
    stream = [number for number in served if draw(st.integers(0, 3))]
    stream += draw(st.lists(st.sampled_from(served), max_size=20))
    seed = draw(st.integers(0, 2**16))
    window = draw(st.sampled_from([1, 3, 60]))
    rng = random.Random(seed)
    stream = [number for _, number in sorted((index + rng.random() * window, number) for index, number in enumerate(stream))]
    frames, start = [], 0
    while start < len(stream):
        size = rng.randint(1, 5)
        frames.append(stream[start : start + size])
        start += size
    return served, frames, draw(st.integers(0, 4)), rng


@given(deliveries(), st.sampled_from([1, 3, 1_000]))
def test_any_interleaving_ends_in_the_served_trades_or_in_open_gaps_that_equal_the_missing_ones(delivery, max_runs):
    served, frames, refills, rng = delivery
    one = tracker(max_runs=max_runs)
    got: list[int] = []
    rows: dict[str, TradeGap] = {}

    def keep(result) -> None:
        got.extend(numbers(result.new))
        rows.update({gap.gap_id: gap for gap in result.gaps})
        # Holds at each moment: what is answered for is recorded or missing, never both, never twice.
        missing = [number for each in one.missing() for number in range(each.run.first, each.run.last + 1)]
        assert len(missing) <= 60
        assert len(one.missing()) <= max_runs + 1
        assert len(set(got)) == len(got)
        assert not set(got) & set(missing)
        if one.high is not None:
            low = min(got + missing, default=one.high + 1)
            assert sorted(got + missing) == list(range(low, one.high + 1))
        # The rows say the same as the object.
        still = {gap.gap_id: gap for gap in rows.values() if gap.state == "open"}
        assert still == {gap.gap_id: gap for gap in one.open_gaps()}

    for index, frame in enumerate(frames):
        keep(one.accept([trade(number) for number in frame], NOW_US))
        if index == len(frames) // 2:
            one = tracker(state=TrackerState.from_json(one.state().to_json()), max_runs=max_runs)
        if refills and rng.random() < 0.3 and one.missing():
            refills -= 1
            first = rng.choice(one.missing()).run.first
            keep(one.accept([trade(number, source=Source.REFILL) for number in served if first <= number < first + rng.randint(1, 9)], NOW_US))
    early = set(served) - set(range(min(got, default=1), served[-1] + 1))
    keep(one.expect(served[-1], NOW_US))
    while (missing := one.missing()) and frames:
        run = missing[0].run
        keep(one.accept([trade(number, source=Source.REFILL) for number in range(run.first, run.last + 1)], NOW_US))
    if frames:
        assert set(got) | early == set(served)
        assert all(gap.state == "refilled" for gap in rows.values())


@given(st.sets(st.integers(-20, 20)))
def test_runs_of_numbers_are_disjoint_and_hold_exactly_them(chosen):
    runs = runs_of(chosen)
    assert [number for run in runs for number in range(run.first, run.last + 1)] == sorted(chosen)
    assert sum(run.size for run in runs) == len(chosen)
    assert all(later.first > earlier.last + 1 for earlier, later in pairwise(runs))
