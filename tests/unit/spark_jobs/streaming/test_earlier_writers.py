"""Which nodes are searched for Python workers of earlier runs, with a fake in place of Ray."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cryptoviz.errors import ComponentLost
from cryptoviz.local.process_identity import ProcessIdentity
from spark_jobs.streaming import earlier_writers
from spark_jobs.streaming.earlier_writers import end_earlier_writers, end_on_all_nodes

VARIABLE = "CRYPTOVIZ_TEST_WRITER"


def writer(run: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], env={VARIABLE: run})


def test_every_other_node_is_searched_and_one_that_does_not_answer_keeps_no_job_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def on_others(function: object, *arguments: object, timeout_s: float) -> dict[str, object]:
        assert timeout_s > 0
        asked.append((function, *arguments))
        return {"192.0.2.11": 2, "192.0.2.12": ComponentLost("its process ended")}

    monkeypatch.setattr(earlier_writers, "_ORPHAN_GRACE_S", 0.1)
    left = writer("lake/earlier")
    try:
        assert end_on_all_nodes(VARIABLE, "lake", "now", on_others) == 1 + 2
        assert left.wait(120) == -9
    finally:
        left.kill()
    assert asked == [(end_earlier_writers, VARIABLE, "lake", "now")]
    assert end_on_all_nodes(VARIABLE, "lake", "now", None) == 0


def test_writers_of_this_run_and_of_other_lakes_are_left_alone() -> None:
    kept = [
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], env={VARIABLE: value}) for value in ("lake/now", "other/earlier")
    ]
    try:
        assert end_earlier_writers(VARIABLE, "lake", "now", 0.1) == 0
        assert all(ProcessIdentity.of(each.pid).is_alive for each in kept)
    finally:
        for each in kept:
            each.kill()
            each.wait()
