"""The designs of the lake job and of maintenance, in every order of their steps; and the earlier designs, which must fail.

`pytest -rP` prints how many states and sequences there were.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.measure import say
from tests.unit.spark_jobs.model import lake_job, maintenance
from tests.unit.spark_jobs.model.explore import Explored, explore
from tests.unit.spark_jobs.model.lake_job import Rules
from tests.unit.spark_jobs.model.maintenance import Rounds

NEW = Rules()
BEFORE = Rules("known_at_start", plan=False, records=2)


def of_job(rules: Rules, starts: Sequence[lake_job.State], *, plain: bool = False) -> Explored[Any]:
    begun = time.monotonic()
    seen = explore(starts, lambda state: lake_job.moves(rules, state), lake_job.doubled if plain else lambda state: lake_job.fault(rules, state))
    return shown(rules, seen, begun)


def of_rounds(rules: Rounds, rounds: int = 2) -> Explored[Any]:
    begun = time.monotonic()
    starts = [maintenance.begin(rounds, 1, leftover=left, late=late, rules=rules) for left in (False, True) for late in (False, True)]
    return shown(rules, explore(starts, lambda state: maintenance.moves(rules, state), lambda state: maintenance.fault(rules, state)), begun)


def shown(rules: object, seen: Explored[Any], begun_s: float) -> Explored[Any]:
    took = f"{time.monotonic() - begun_s:.1f} s"
    say(f"{rules}: {seen.states} states, {seen.steps} steps, {seen.sequences:.2e} sequences in {took}: {seen.fault or 'right'}")
    return seen


def leftovers(rules: Rules, runs: int = 2, kills: int = 1) -> list[lake_job.State]:
    """No leftover, one outside of the batch plan, one in the batch plan, and one of a single offset in the last table."""
    first, last = (0, 0, 2), (rules.tables - 1, 0, 1)
    return [
        lake_job.begin(rules, runs, kills),
        lake_job.begin(rules, runs, kills, first),
        lake_job.begin(rules, runs, kills, first, planned=True),
        lake_job.begin(rules, runs, kills, last),
    ]


@pytest.mark.parametrize("rules", [BEFORE, Rules("checked", plan=False, records=2)], ids=["as it was", "a look before each deletion"])
def test_a_start_that_deletes_what_the_log_does_not_know_loses_rows(rules: Rules) -> None:
    """A superseded run continues its sweep, and the successor's file has the name of the leftover, or is about to be committed."""
    seen = of_job(rules, leftovers(rules))
    assert seen.fault.startswith("lost: the log names")
    deletes = next(step for step in reversed(seen.way) if "deletes" in step)
    assert deletes.startswith("run 0")
    assert any(step.startswith("run 1 fences") for step in seen.way[: seen.way.index(deletes)])


@pytest.mark.parametrize("rules", [NEW, Rules(tables=2, records=2)], ids=["one table", "two tables"])
@pytest.mark.parametrize("kills", [1, 2])
def test_no_sequence_loses_or_doubles_a_row(rules: Rules, kills: int) -> None:
    seen = of_job(rules, leftovers(rules, kills=kills))
    assert seen.fault == "", seen.way
    assert seen.states > 5000
    assert seen.sequences > 10**7


def test_no_sequence_of_three_runs_does() -> None:
    rules = Rules(records=2)
    seen = of_job(rules, [lake_job.begin(rules, 3, 0, (0, 0, 2)), lake_job.begin(rules, 3, 0, (0, 0, 2), planned=True)])
    assert seen.fault == "", seen.way
    assert seen.sequences > 10**7


@pytest.mark.parametrize("rules", [NEW, Rules(tables=2, records=2)], ids=["one table", "two tables"])
def test_a_reader_of_the_folder_sees_no_row_twice_at_any_moment(rules: Rules) -> None:
    starts = [lake_job.begin(rules, 2, 1), lake_job.begin(rules, 2, 1, (0, 0, 2), planned=True)]
    seen = of_job(rules, starts, plain=True)
    assert seen.fault == "", seen.way
    assert seen.sequences > 10**5


@pytest.mark.parametrize("rules", [Rules(plan=False), Rules(look_again=False)], ids=["no plan", "no second look at the log"])
def test_without_the_plan_or_the_second_look_it_does(rules: Rules) -> None:
    starts = [lake_job.begin(rules, 2, 1), lake_job.begin(rules, 2, 1, (0, 0, 2), planned=True)]
    assert of_job(rules, starts, plain=True).fault.startswith("doubled")
    assert of_job(rules, starts).fault == ""


@pytest.mark.parametrize(
    "rules",
    [Rounds(own_names=False, epoch=False, ensure=True), Rounds(epoch=False), Rounds(own_names=False)],
    ids=["as it was", "own names alone", "an epoch alone"],
)
def test_a_round_that_was_overtaken_deletes_what_another_commits(rules: Rounds) -> None:
    seen = of_rounds(rules)
    assert seen.fault.startswith("lost: the log names ['c")
    assert "deletes c" in seen.way[-1] or "commits c" in seen.way[-1]


def test_no_sequence_of_rounds_loses_or_doubles_a_row() -> None:
    seen = of_rounds(Rounds())
    assert seen.fault == "", seen.way
    assert seen.states > 2000
    assert seen.sequences > 500_000
