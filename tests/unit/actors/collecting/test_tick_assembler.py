from __future__ import annotations

import pytest

from actors.collecting.tick_assembler import MAX_CATCH_UP_TICKS, TickAssembler
from actors.collecting.unify import Rules
from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.records import FallbackReason
from tests.support.clock import T0
from tests.support.collection_fakes import answer, failed, not_due

ASSETS = DEFAULT_ASSETS[:2]
PRICES = {asset.asset_id: 1.0 for asset in ASSETS}
TICK = 2000


def assembler() -> TickAssembler:
    return TickAssembler(ASSETS, Rules(("coingecko", "coinmarketcap"), 900.0, 100.0), TICK, consensus_wait_ms=250, now_ms=T0 + 10)


def test_a_tick_closes_when_all_providers_have_a_result():
    b = assembler()
    assert b.add(answer("coinmarketcap", PRICES))
    assert b.take_due(T0 + 100) == []
    assert b.add(failed("coingecko", FallbackReason.AUTH))
    (closed,) = b.take_due(T0 + 101)
    assert (closed.tick_ts, set(closed.results), closed.absent) == (T0, {"coingecko", "coinmarketcap"}, {})
    assert b.take_due(T0 + 102) == []


def test_a_complete_primary_waits_briefly_for_the_consensus():
    b = assembler()
    b.add(answer("coingecko", PRICES))
    assert b.take_due(T0 + 100) == []
    assert b.next_due_ms() == T0 + 350
    assert b.take_due(T0 + 349) == []
    (closed,) = b.take_due(T0 + 350)
    assert closed.absent == {"coinmarketcap": FallbackReason.TIMEOUT}


def test_an_incomplete_primary_waits_for_a_fallback_until_the_deadline():
    b = assembler()
    b.add(answer("coingecko", {"bitcoin": 1.0}))
    assert b.take_due(T0 + 1799) == []
    assert b.next_due_ms() == T0 + 1800
    (closed,) = b.take_due(T0 + 1800)
    assert closed.absent == {"coinmarketcap": FallbackReason.TIMEOUT}


def test_ticks_close_once_and_in_order_even_without_results():
    b = assembler()
    closed = b.take_due(T0 + 3 * TICK)
    assert [tick.tick_ts for tick in closed] == [T0, T0 + TICK, T0 + 2 * TICK]
    assert b.current_tick == T0 + 3 * TICK


def test_late_early_foreign_and_misaligned_results_are_refused_and_counted():
    b = assembler()
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


def test_a_repeated_result_is_ignored():
    b = assembler()
    b.add(answer("coingecko", PRICES))
    b.add(failed("coingecko", FallbackReason.AUTH))
    b.add(answer("coinmarketcap", PRICES))
    (closed,) = b.take_due(T0 + 100)
    assert closed.results["coingecko"].failure is None


def test_a_stopped_provider_is_unavailable_and_not_waited_for():
    b = assembler()
    b.deregister("coingecko")
    b.add(answer("coinmarketcap", PRICES))
    (closed,) = b.take_due(T0 + 100)
    assert closed.absent == {"coingecko": FallbackReason.UNAVAILABLE}
    assert b.stopped == {"coingecko"}
    b.add(answer("coingecko", PRICES, T0 + TICK))
    assert b.stopped == frozenset()


def test_a_silent_provider_is_unavailable_after_three_ticks():
    b = assembler()
    absent = []
    for i in range(5):
        b.add(answer("coinmarketcap", PRICES, T0 + i * TICK))
        soon = b.take_due(T0 + i * TICK + 100)
        absent += [tick.absent["coingecko"] for tick in soon or b.take_due(T0 + i * TICK + 1800)]
        assert bool(soon) is (i >= 3)
    assert absent == [FallbackReason.TIMEOUT] * 3 + [FallbackReason.UNAVAILABLE] * 2


def test_a_late_provider_is_alive():
    b = assembler()
    for i in range(5):
        tick = T0 + i * TICK
        b.add(answer("coinmarketcap", PRICES, tick))
        (closed,) = b.take_due(tick + 1800)
        assert closed.absent == {"coingecko": FallbackReason.TIMEOUT}
        b.add(answer("coingecko", PRICES, tick))


@pytest.mark.parametrize("behind", [MAX_CATCH_UP_TICKS + 1, 10**9])
def test_a_clock_jump_skips_and_counts_ticks(behind):
    b = assembler()
    closed = b.take_due(T0 + behind * TICK)
    assert len(closed) == MAX_CATCH_UP_TICKS
    assert b.skipped_total == behind - MAX_CATCH_UP_TICKS
    assert b.current_tick == T0 + behind * TICK


def test_a_provider_without_a_turn_is_neither_waited_for_nor_absent():
    b = assembler()
    b.add(not_due("coingecko"))
    assert b.take_due(T0 + 50) == []
    b.add(answer("coinmarketcap", PRICES))
    (closed,) = b.take_due(T0 + 101)
    assert (set(closed.results), closed.absent, closed.idle) == ({"coinmarketcap"}, {}, frozenset({"coingecko"}))


def test_a_tick_without_any_turn_closes_at_once():
    b = assembler()
    b.add(not_due("coingecko"))
    b.add(not_due("coinmarketcap"))
    (closed,) = b.take_due(T0 + 20)
    assert (closed.results, closed.absent, closed.idle) == ({}, {}, frozenset({"coingecko", "coinmarketcap"}))


def test_a_result_takes_precedence_over_a_successor_without_a_turn():
    b = assembler()
    b.add(answer("coingecko", PRICES))
    b.add(not_due("coingecko"))
    b.add(not_due("coinmarketcap"))
    (closed,) = b.take_due(T0 + 101)
    assert (set(closed.results), closed.idle) == ({"coingecko"}, frozenset({"coinmarketcap"}))
