from __future__ import annotations

import pytest

from actors.collecting.tick_assembler import MAX_CATCH_UP_TICKS, TickBoard
from actors.collecting.unify import Rules
from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.records import FallbackReason
from tests.unit.actors.fakes import T0, answer, failed, not_due

ASSETS = DEFAULT_ASSETS[:2]
PRICES = {asset.asset_id: 1.0 for asset in ASSETS}
TICK = 2000


def board() -> TickBoard:
    return TickBoard(ASSETS, Rules(("coingecko", "coinmarketcap"), 900.0, 100.0), TICK, consensus_wait_ms=250, now_ms=T0 + 10)


def test_tick_closes_when_all_have_reported():
    b = board()
    assert b.add(answer("coinmarketcap", PRICES))
    assert b.take_due(T0 + 100) == []
    assert b.add(failed("coingecko", FallbackReason.AUTH))
    (closed,) = b.take_due(T0 + 101)
    assert (closed.tick_ts, set(closed.results), closed.absent) == (T0, {"coingecko", "coinmarketcap"}, {})
    assert b.take_due(T0 + 102) == []


def test_complete_primary_waits_a_moment_for_the_others_opinion():
    b = board()
    b.add(answer("coingecko", PRICES))
    assert b.take_due(T0 + 100) == []
    assert b.next_due_ms() == T0 + 350
    assert b.take_due(T0 + 349) == []
    (closed,) = b.take_due(T0 + 350)
    assert closed.absent == {"coinmarketcap": FallbackReason.TIMEOUT}


def test_incomplete_primary_waits_for_the_fallback_until_the_deadline():
    b = board()
    b.add(answer("coingecko", {"bitcoin": 1.0}))
    assert b.take_due(T0 + 1799) == []
    assert b.next_due_ms() == T0 + 1800
    (closed,) = b.take_due(T0 + 1800)
    assert closed.absent == {"coinmarketcap": FallbackReason.TIMEOUT}


def test_each_tick_closes_once_in_order_even_when_nobody_reports():
    b = board()
    closed = b.take_due(T0 + 3 * TICK)
    assert [tick.tick_ts for tick in closed] == [T0, T0 + TICK, T0 + 2 * TICK]
    assert b.current_tick == T0 + 3 * TICK


def test_late_early_foreign_and_misaligned_results_are_refused_and_counted():
    b = board()
    b.take_due(T0 + 1800)
    refused = [
        answer("coingecko", PRICES, T0),
        answer("coingecko", PRICES, T0 + 3 * TICK),
        answer("unknown", PRICES, T0 + TICK),
        answer("coingecko", PRICES, T0 + TICK + 1),
    ]
    assert [b.add(result) for result in refused] == [False] * 4
    assert b.late_total == 4
    assert b.add(answer("coingecko", PRICES, T0 + 2 * TICK))


def test_a_repeated_result_counts_once():
    b = board()
    b.add(answer("coingecko", PRICES))
    b.add(failed("coingecko", FallbackReason.AUTH))
    b.add(answer("coinmarketcap", PRICES))
    (closed,) = b.take_due(T0 + 100)
    assert closed.results["coingecko"].failure is None


def test_a_stopped_provider_is_not_waited_for_and_is_unavailable():
    b = board()
    b.deregister("coingecko")
    b.add(answer("coinmarketcap", PRICES))
    (closed,) = b.take_due(T0 + 100)
    assert closed.absent == {"coingecko": FallbackReason.UNAVAILABLE}
    assert b.stopped == {"coingecko"}
    b.add(answer("coingecko", PRICES, T0 + TICK))
    assert b.stopped == frozenset()


def test_a_silent_provider_is_waited_for_three_ticks_and_then_unavailable():
    b = board()
    absent = []
    for i in range(5):
        b.add(answer("coinmarketcap", PRICES, T0 + i * TICK))
        soon = b.take_due(T0 + i * TICK + 100)
        absent += [tick.absent["coingecko"] for tick in soon or b.take_due(T0 + i * TICK + 1800)]
        assert bool(soon) is (i >= 3)
    assert absent == [FallbackReason.TIMEOUT] * 3 + [FallbackReason.UNAVAILABLE] * 2


def test_a_late_provider_is_alive():
    b = board()
    for i in range(5):
        tick = T0 + i * TICK
        b.add(answer("coinmarketcap", PRICES, tick))
        (closed,) = b.take_due(tick + 1800)
        assert closed.absent == {"coingecko": FallbackReason.TIMEOUT}
        b.add(answer("coingecko", PRICES, tick))


@pytest.mark.parametrize("behind", [MAX_CATCH_UP_TICKS + 1, 10**9])
def test_a_leap_of_the_clock_skips_what_nobody_can_have_seen(behind):
    b = board()
    closed = b.take_due(T0 + behind * TICK)
    assert len(closed) == MAX_CATCH_UP_TICKS
    assert b.skipped_total == behind - MAX_CATCH_UP_TICKS
    assert b.current_tick == T0 + behind * TICK


def test_a_provider_whose_turn_it_is_not_is_neither_waited_for_nor_absent():
    b = board()
    b.add(not_due("coingecko"))
    assert b.take_due(T0 + 50) == []
    b.add(answer("coinmarketcap", PRICES))
    (closed,) = b.take_due(T0 + 101)
    assert (set(closed.results), closed.absent, closed.idle) == ({"coinmarketcap"}, {}, {"coingecko"})


def test_a_tick_that_is_nobody_s_turn_closes_at_once():
    b = board()
    b.add(not_due("coingecko"))
    b.add(not_due("coinmarketcap"))
    (closed,) = b.take_due(T0 + 20)
    assert (closed.results, closed.absent, closed.idle) == ({}, {}, {"coingecko", "coinmarketcap"})


def test_an_answer_counts_more_than_a_successor_that_is_not_to_ask():
    b = board()
    b.add(answer("coingecko", PRICES))
    b.add(not_due("coingecko"))
    b.add(not_due("coinmarketcap"))
    (closed,) = b.take_due(T0 + 101)
    assert (set(closed.results), closed.idle) == ({"coingecko"}, {"coinmarketcap"})
