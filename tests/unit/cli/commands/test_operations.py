"""The commands that start and follow operations, with a real server; the test controls the work."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cryptoviz.cli.commands import gaps, operations
from cryptoviz.cli.main import app
from cryptoviz.client import ControlClient
from cryptoviz.gaps import Gap, GapScope
from cryptoviz.operations import BackfillArguments, OperationResult, OperationState, Progress
from tests.support.control_server import Serving, serving
from tests.support.waiting import eventually


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    with serving(tmp_path) as here:
        for module in (operations, gaps):
            monkeypatch.setattr(module, "running_settings", lambda: here.settings)
        yield here


@pytest.fixture
def client(served: Serving) -> Iterator[ControlClient]:
    with served.client() as client:
        yield client


def finish_soon(served: Serving) -> threading.Thread:
    """Lets the operation report and succeed once it runs."""

    def run() -> None:
        (work,) = eventually(lambda: [work for work in served.operations.works.values() if work.report is not None])
        assert work.report is not None
        work.report(Progress(done=3, total=4, unit="ticks", message="asking kraken"))
        work.outcome = OperationResult(message="4 ticks", figures={"rows": 4}, notes=("kraken has no [VET]",))
        served.loop.call_soon_threadsafe(work.finish.set)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_backfill_is_followed_to_its_end(served: Serving, client: ControlClient) -> None:
    thread = finish_soon(served)
    result = CliRunner().invoke(app, ["backfill", "--assets", "BTC, ethereum", "--from", "2026-01-01T00:00:00+01:00", "--provider", "kraken"])
    thread.join(120)
    assert result.exit_code == 0, result.output
    assert "SUCCEEDED 4 ticks" in result.output
    assert "kraken has no [VET]" in result.output
    (done,) = client.operations.list()
    assert done.arguments == BackfillArguments(assets=("BTC", "ethereum"), start_ms=1_767_222_000_000, provider="kraken")


def test_gaps_of_providers_are_shown_apart(served: Serving) -> None:
    subjects = ((GapScope.ASSET, "bitcoin"), (GapScope.PROVIDER, "kraken"))
    served.gaps = [Gap(scope, name, 0, 60_000, 60_000, 2, "not_running", 60_000) for scope, name in subjects]
    for options, (scope, name) in zip(((), ("--providers",)), subjects, strict=True):
        (gap,) = json.loads(CliRunner().invoke(app, ["gaps", *options, "--json"]).stdout)["gaps"]
        assert gap[scope] == name


def test_as_json_each_change_is_a_line(served: Serving) -> None:
    thread = finish_soon(served)
    result = CliRunner().invoke(app, ["backfill", "--json"])
    thread.join(120)
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert (lines[-1]["state"], lines[-1]["figures"], lines[-1]["kind"]) == ("SUCCEEDED", {"rows": 4}, "backfill")
    shown = json.loads(CliRunner().invoke(app, ["operations", "--json"]).stdout.splitlines()[-1])
    assert [one["id"] for one in shown["operations"]] == [lines[-1]["id"]]
    watched = CliRunner().invoke(app, ["operations", "watch", lines[-1]["id"][:6]])
    assert "SUCCEEDED 4 ticks" in watched.output


def test_cancel_and_resume_by_the_first_characters(served: Serving, client: ControlClient) -> None:
    begun = client.operations.start(BackfillArguments())
    eventually(lambda: served.operations.works)
    cancelled = CliRunner().invoke(app, ["operations", "cancel", begun.id[:8]])
    assert f"backfill {begun.id[:8]}: CANCELLED" in cancelled.output
    assert "CANCELLED" in CliRunner().invoke(app, ["operations"]).output
    served.operations.works.clear()
    thread = finish_soon(served)
    resumed = CliRunner().invoke(app, ["operations", "resume", begun.id[:8]])
    thread.join(120)
    assert resumed.exit_code == 0, resumed.output
    assert client.operations.get(begun.id).state is OperationState.SUCCEEDED
