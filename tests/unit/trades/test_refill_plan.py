from __future__ import annotations

from cryptoviz.trades.gap_tracker import MissingRun
from cryptoviz.trades.id_runs import IdRun
from cryptoviz.trades.refill_plan import RefillJob, RefillPlan, first_request

SECOND_US = 1_000_000


def run(first: int, last: int, opened_us: int = 0) -> MissingRun:
    return MissingRun(IdRun(first, last), (first * 10, last * 10), opened_us)


def test_a_gap_waits_as_frames_out_of_order_close_many_by_themselves():
    plan = RefillPlan(1_000, settle_us=250_000)
    missing = {"A": [run(5, 6, opened_us=SECOND_US)]}
    assert plan.next(missing, SECOND_US + 249_999) is None
    assert plan.due_us(missing) == SECOND_US + 250_000
    assert plan.next(missing, SECOND_US + 250_000) == RefillJob("A", IdRun(5, 6), (50, 60))
    assert plan.next({}, SECOND_US * 2) is None
    assert plan.due_us({"A": []}) is None


def test_runs_that_lie_close_together_are_one_request():
    runs = [run(5, 6), run(9, 9), run(104, 104), run(105, 200)]
    assert first_request("A", runs, 100) == RefillJob("A", IdRun(5, 104), (50, 1040))
    assert first_request("A", runs[3:], 10) == RefillJob("A", IdRun(105, 200), (1050, 2000))


def test_symbols_take_turns():
    plan = RefillPlan(1_000)
    missing = {"B": [run(1, 9_000)], "A": [run(1, 9_000)], "C": [run(1, 1)]}
    asked = []
    for _ in range(6):
        job = plan.next(missing, SECOND_US)
        assert job is not None
        asked.append(job.symbol)
        plan.answered(job.symbol, 1_000, SECOND_US)
    assert asked == ["A", "B", "C", "A", "B", "C"]


def test_a_symbol_that_fails_or_brings_nothing_waits_twice_as_long_each_time_and_the_others_do_not():
    plan = RefillPlan(1_000)
    missing = {"A": [run(1, 9)], "B": [run(1, 9)]}
    now_us = SECOND_US
    waits = []
    for _ in range(10):
        assert plan.next({"A": missing["A"]}, now_us) is not None
        plan.answered("A", 0, now_us)
        job = plan.next(missing, now_us)
        assert job is not None
        assert job.symbol == "B"
        due_us = plan.due_us({"A": missing["A"]})
        assert due_us is not None
        assert plan.next({"A": missing["A"]}, due_us - 1) is None
        waits.append((due_us - now_us) // SECOND_US)
        now_us = due_us
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    plan.next(missing, now_us)
    plan.answered("A", 1, now_us)
    assert plan.due_us({"A": missing["A"]}) == now_us


def test_a_refusal_by_the_venue_holds_all_symbols():
    plan = RefillPlan(1_000)
    missing = {"A": [run(1, 9)], "B": [run(1, 9)]}
    plan.next(missing, SECOND_US)
    plan.failed("A", SECOND_US, hold_s=30.0)
    assert plan.next(missing, 31 * SECOND_US - 1) is None
    assert plan.due_us(missing) == 31 * SECOND_US
    assert plan.next(missing, 31 * SECOND_US) is not None


def test_what_is_no_longer_missing_is_forgotten():
    plan = RefillPlan(1_000)
    plan.failed("A", SECOND_US)
    assert plan.next({"A": []}, SECOND_US) is None
    assert plan.next({"A": [run(1, 1)]}, SECOND_US) is not None
