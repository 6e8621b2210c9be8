"""State of a provider in a file and in a copy, of which the newer counts. tests/integration/test_limits.py uses a real Redis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.fetching.hold_off import HoldOff
from actors.kept_state import KeptState
from actors.protection.breaker import Breaker
from cryptoviz.clock import steady_ms
from cryptoviz.provider_status import BreakerState
from cryptoviz.records import FallbackReason
from cryptoviz.settings import BreakerSettings
from tests.support.clock import FakeClock


def at(moment_ms: int, **state: Any) -> dict[str, Any]:
    return {"at_utc_ms": moment_ms, **state}


@pytest.mark.parametrize(
    ("file", "copy", "expected"),
    [
        (None, None, {}),
        (at(1, of="file"), None, at(1, of="file")),
        (None, at(1, of="copy"), at(1, of="copy")),
        (at(2, of="file"), at(1, of="copy"), at(2, of="file")),
        (at(1, of="file"), at(2, of="copy"), at(2, of="copy")),
        (at(1, of="file"), at(2, cleared=True), {}),
        (at(2, cleared=True), at(1, of="copy"), {}),
        ({"of": "an earlier version"}, at(1, of="copy"), at(1, of="copy")),
        (at(1, of="file"), {"at_utc_ms": "x"}, at(1, of="file")),
    ],
)
def test_the_newer_counts(file: dict[str, Any] | None, copy: dict[str, Any] | None, expected: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    if file is not None:
        KeptState(path).save(file)
    assert KeptState(path).load(copy) == expected


def breaker(folder: Path, shared: list[dict[str, Any]], clock: FakeClock) -> Breaker:
    return Breaker(BreakerSettings(failures=1, failing_s=0, open_s=30), folder / "breaker.json", lambda: 0.0, clock, shared.append)


async def test_a_breaker_moves_to_another_node_and_back(tmp_path: Path) -> None:
    clock, shared = FakeClock(), list[dict[str, Any]]()
    first = breaker(tmp_path / "one", shared, clock)
    first.trip("by hand", steady_ms(clock))
    await clock.sleep(60)
    second = breaker(tmp_path / "two", shared, clock)
    second.load(shared[-1])
    assert (second.status().state, second.status().by_operator, second.status().reason) == (BreakerState.OPEN, True, "by hand")
    second.reset(steady_ms(clock))
    await clock.sleep(60)
    back = breaker(tmp_path / "one", shared, clock)
    back.load(shared[-1])  # its own file still says open
    assert back.status().state is BreakerState.CLOSED
    # A copy that could not be written does not open the breaker again.
    after = breaker(tmp_path / "two", shared, clock)
    after.load(shared[0])
    assert after.status().state is BreakerState.CLOSED


async def test_a_hold_moves_to_another_node(tmp_path: Path) -> None:
    clock, shared = FakeClock(), list[dict[str, Any]]()
    HoldOff(tmp_path / "one" / "hold.json", clock, shared.append).impose(FallbackReason.RATE_LIMITED, 90.0, steady_ms(clock))
    await clock.sleep(30)
    moved = HoldOff(tmp_path / "two" / "hold.json", clock, shared.append)
    moved.load(shared[-1])
    assert moved.active(steady_ms(clock)) == (FallbackReason.RATE_LIMITED, 60.0)
    moved.lift()
    successor = HoldOff(tmp_path / "one" / "hold.json", clock)
    successor.load(shared[-1])
    assert successor.active(steady_ms(clock)) is None


def test_a_state_that_the_disk_refuses_holds_in_this_process_and_is_shared(tmp_path: Path) -> None:
    """A full disk: neither the poll that learns of a ban fails, nor does a scraper on another node ask."""
    clock, shared = FakeClock(), list[dict[str, Any]]()
    (tmp_path / "run").touch()  # a file in place of the folder refuses like a full disk
    held = HoldOff(tmp_path / "run" / "hold-off.json", clock, shared.append)
    held.impose(FallbackReason.RATE_LIMITED, 60, steady_ms(clock))
    assert held.active(steady_ms(clock)) == (FallbackReason.RATE_LIMITED, 60)
    assert [state["reason"] for state in shared] == [FallbackReason.RATE_LIMITED.value]
    broken = Breaker(BreakerSettings(failures=1, failing_s=0), tmp_path / "run" / "breaker.json", lambda: 0.0, clock, shared.append)
    broken.trip("by hand", steady_ms(clock))
    assert shared[-1]["reason"] == "by hand"
