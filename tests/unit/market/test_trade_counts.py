"""Ids of trades follow from the time, and times from the ids, across changes of the rate."""

import pytest

from market.trade_counts import Segment, TradeCounts


@pytest.fixture
def counts():
    """One and a half trades a second; none from second 100, three a second from 110, the usual rate from 120, where ids jump by 1 000."""
    counts = TradeCounts(1_500)
    counts.change(100, 0)
    counts.change(110, 3_000)
    counts.change(120, 1_500, skipped_ids=1_000)
    return counts


def test_ids_of_seconds(counts):
    before = {second: counts.last_id_before(second) for second in (0, 1, 2, 99, 100, 105, 110, 111, 119, 120, 122)}
    assert before == {0: 0, 1: 1, 2: 3, 99: 148, 100: 150, 105: 150, 110: 150, 111: 153, 119: 177, 120: 1_180, 122: 1_183}


def test_each_id_is_found_in_its_second(counts):
    for second in (*range(100), *range(110, 200)):
        first = counts.last_id_before(second) + 1
        ids = range(first, first + counts.made(second, second + 1))
        assert {counts.second_of(trade_id) for trade_id in ids} <= {second}


def test_a_halt_has_no_trades_and_ids_continue_after_it(counts):
    assert counts.made(100, 110) == 0
    assert (counts.second_of(150), counts.second_of(151)) == (99, 110)


def test_ids_that_were_skipped_lead_to_the_next_trade(counts):
    assert counts.made(110, 120) == 30
    assert [counts.second_of(trade_id) for trade_id in (180, 181, 700, 1_180, 1_181)] == [119, 120, 120, 120, 120]


def test_no_trade_before_the_first_and_after_the_last():
    counts = TradeCounts(1_000)
    counts.change(10, 0)
    assert counts.second_of(0) is None
    assert (counts.second_of(10), counts.second_of(11)) == (9, None)
    assert counts.last_id_before(-5) == 0


def test_a_change_drops_later_changes():
    counts = TradeCounts(1_000)
    counts.change(10, 5_000)
    counts.change(20, 1_000)
    counts.change(15, 1_000)
    assert counts.segments == [Segment(0, 1_000, 0), Segment(10, 5_000, 10), Segment(15, 1_000, 35)]


def test_restored_segments_count_as_changes():
    assert TradeCounts(1_000, [Segment(0, 1_000, 0), Segment(5, 0, 5)]).version == 1
