"""Acquisition and refusal of the lease with messages, and the holder's view of it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import psutil
import pytest

from cryptoviz.errors import EngineUnavailable, LakeError
from cryptoviz.lake.conditional_object import ObjectChanged, ObjectVersion
from cryptoviz.local.process_identity import ProcessIdentity
from spark_jobs.tables.lease import Holder, Lease, LeaseHeld, process_is_dead

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
ME = Holder("lake", "p1", "run1", "host1", "boot", 100, "home1", "", "", 15.0, namespaces="pid:[1]", start_ticks=500)
OTHER = replace(ME, pipeline="p2", run="run2", host="host2", home="home2", pid=200)


class Cell:
    """The store's object and clock, in memory."""

    def __init__(self) -> None:
        self.content: bytes | None = None
        self.etag = 0
        self.age_s = 0.0
        self.away = False
        self.lose_answer = False

    def read(self) -> ObjectVersion | None:
        self._ask()
        return None if self.content is None else ObjectVersion(self.content, str(self.etag), self.age_s)

    def write(self, content: bytes, over: str | None) -> str:
        self._ask()
        if over != (None if self.content is None else str(self.etag)):
            raise ObjectChanged("changed")
        self.content, self.age_s, self.etag = content, 0.0, self.etag + 1
        if self.lose_answer:
            self.lose_answer = False
            raise EngineUnavailable("no answer", engine="object-store")
        return str(self.etag)

    def _ask(self) -> None:
        if self.away:
            raise EngineUnavailable("the object store is away", engine="object-store")

    def holder(self) -> Holder:
        assert self.content is not None
        return Holder.from_json(self.content)


def lease(cell: Cell, me: Holder = ME, *, dead: bool = False) -> Lease:
    return Lease(cell, me, lambda _: dead, lambda: NOON)


def test_the_first_gets_it_and_gives_it_back() -> None:
    cell = Cell()
    with lease(cell):
        assert (cell.holder().run, cell.holder().since, cell.holder().until) == ("run1", "2026-01-02T12:00:00+00:00", "2026-01-02T12:00:15+00:00")
    assert cell.holder().released
    with lease(cell, OTHER):
        assert cell.holder().run == "run2"


def test_another_pipeline_is_refused_with_holder_start_and_expiry() -> None:
    cell = Cell()
    with lease(cell):
        cell.age_s = 4
        with pytest.raises(LeaseHeld) as refused:
            lease(cell, OTHER).acquire()
    for part in ("run run1", "home1 on host1", "process 100", "since 2026-01-02T12:00:00", "until 2026-01-02T12:00:15", "expires in 12 s"):
        assert part in str(refused.value)


@pytest.mark.parametrize(
    ("me", "age_s", "dead", "free"),
    [
        (OTHER, 16.0, False, False),
        (OTHER, 17.0, False, True),
        (OTHER, 3.0, True, False),
        (replace(ME, run="run3", pid=101), 0.0, True, True),
        (replace(ME, run="run3", pid=101), 0.0, False, False),
        (replace(ME, run="run3"), 0.0, False, True),
    ],
    ids=["not yet run out", "run out", "dead, but another pipeline", "own run, dead", "own run, alive", "own process, a new run"],
)
def test_who_may_take_over(me: Holder, age_s: float, dead: bool, free: bool) -> None:
    cell = Cell()
    lease(cell).acquire()
    cell.age_s = age_s
    if free:
        with lease(cell, me, dead=dead):
            assert cell.holder().run == me.run
    else:
        with pytest.raises(LeaseHeld):
            lease(cell, me, dead=dead).acquire()


def test_a_holder_that_was_overtaken_sees_by_whom_and_must_stop() -> None:
    cell = Cell()
    mine = lease(cell)
    mine.acquire()
    mine.check()
    cell.age_s = 60
    with lease(cell, OTHER):
        mine.renew()
        assert "run run2 of the pipeline in home2 on host2" in mine.lost
        with pytest.raises(LakeError, match="taken over"):
            mine.check()
        mine.release()
        assert cell.holder().run == "run2"
        assert not cell.holder().released


def test_a_renewal_whose_answer_was_lost_is_ours() -> None:
    cell = Cell()
    with lease(cell) as mine:
        cell.lose_answer = True
        mine.renew()
        assert mine.problem is not None
        mine.renew()
        mine.renew()
        assert mine.lost == ""
        assert mine.problem is None


def test_an_unavailable_store_is_reported_and_the_lease_kept_until_a_takeover() -> None:
    cell = Cell()
    with lease(cell) as mine:
        cell.away = True
        mine.renew()
        first = mine.problem
        mine.renew()
        assert first is not None
        assert mine.problem == first
        assert "away" in first.message
        cell.away = False
        mine.renew()
        assert mine.problem is None
        assert mine.lost == ""


def test_an_object_that_somebody_removed_is_made_again() -> None:
    cell = Cell()
    with lease(cell) as mine:
        cell.content = None
        mine.renew()
        assert cell.holder().run == "run1"
        assert mine.lost == ""


def test_an_unreadable_lease_is_not_taken_for_a_free_one() -> None:
    cell = Cell()
    cell.content = b"<html>"
    with pytest.raises(LakeError, match="invalid lease"):
        lease(cell).acquire()


def holder_of_this_process() -> Holder:
    own = ProcessIdentity.own()
    return replace(ME, host=socket.gethostname(), boot=own.boot, pid=own.pid, namespaces=own.namespaces, start_ticks=own.start_ticks)


def test_a_process_is_dead_only_where_that_can_be_known() -> None:
    here = holder_of_this_process()
    assert not process_is_dead(here)
    assert process_is_dead(replace(here, start_ticks=(here.start_ticks or 0) - 1))
    assert process_is_dead(replace(here, pid=2**22 + 1))
    assert not process_is_dead(replace(here, pid=2**22 + 1, host="elsewhere"))
    assert not process_is_dead(replace(here, pid=2**22 + 1, namespaces="pid:[another container]"))


@pytest.mark.parametrize("step_s", [-3600, -2, 2, 3600, 365 * 86_400])
def test_a_living_holder_stays_alive_when_the_wall_clock_steps(step_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    here = holder_of_this_process()
    before = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: before + step_s)
    monkeypatch.setattr("psutil.boot_time", lambda: before + step_s)
    monkeypatch.setattr("time.time", lambda: NOON.timestamp() + step_s)
    assert not process_is_dead(here)
    assert holder_of_this_process() == here


def test_a_lease_of_an_earlier_version_is_read_and_its_living_holder_not_judged_by_a_start_time() -> None:
    old = {
        "kind": "lake", "pipeline": "p1", "run": "run0", "host": socket.gethostname(), "boot": ProcessIdentity.own().boot, "pid": os.getpid(),
        "pid_started": 1.0, "home": "home1", "since": "", "until": "", "lasts_s": 15.0, "released": False,
    }  # fmt: skip
    holder = Holder.from_json(json.dumps(old).encode())
    assert holder.run == "run0"
    assert not process_is_dead(holder)
    assert process_is_dead(replace(holder, pid=2**22 + 1))


class Watched:
    """A contender's monotonic clock; each wait calls `alive`, which acts like a running holder."""

    def __init__(self, alive: Callable[[], None] = lambda: None) -> None:
        self.now_s = 0.0
        self._alive = alive

    def monotonic(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self._alive()


def contender(cell: Cell, watched: Watched) -> Lease:
    return Lease(cell, OTHER, lambda _: False, lambda: NOON, watched.monotonic, watched.wait)


@pytest.mark.parametrize("age_s", [3600.0, 31_536_000.0, -3600.0], ids=["an hour on", "a year on", "an hour back"])
def test_a_store_clock_that_was_set_makes_no_living_holder_look_dead(age_s: float) -> None:
    cell = Cell()
    holder = Lease(cell, replace(ME, lasts_s=1e6), lambda _: False, lambda: NOON)  # renews only on request
    holder.acquire()
    content = cell.holder()
    cell.content, cell.age_s = replace(content, lasts_s=15.0).to_json(), age_s

    def renews() -> None:
        cell.content, cell.etag = replace(content, lasts_s=15.0, until="later").to_json(), cell.etag + 1

    with pytest.raises(LeaseHeld):
        contender(cell, Watched(renews)).acquire()
    dead = Watched()
    with contender(cell, dead):
        assert cell.holder().run == "run2"
    assert 5 <= dead.now_s <= 17  # at most a lease duration


def test_a_paused_holder_checks_before_it_continues() -> None:
    """Its thread has not renewed yet when the paused process continues."""
    cell, clock = Cell(), Watched()
    mine = Lease(cell, replace(ME, lasts_s=1e6), lambda _: False, lambda: NOON, clock.monotonic)
    mine.acquire()
    cell.content, cell.etag = replace(OTHER).to_json(), cell.etag + 1
    mine.check()  # it renewed a moment ago
    clock.now_s += 1e6 + 1
    with pytest.raises(LakeError, match="run run2"):
        mine.check()
