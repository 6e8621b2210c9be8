"""`cryptoviz calls`: number, codes and times of the calls of the control service."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cryptoviz.cli.commands.calls import calls_view
from cryptoviz.cli.main import app
from cryptoviz.local.home import claim
from cryptoviz.rpc.convert import MethodCalls
from tests.support.control_server import serving

INFINITE = float("inf")


def test_the_table_has_the_bounds_that_calls_did_not_exceed() -> None:
    rows = [
        MethodCalls("/a/Watch", {"OK": 1}, ((0.005, 0), (INFINITE, 0)), 0.0),
        MethodCalls("/a/List", {"OK": 197, "UNAVAILABLE": 2, "INTERNAL": 1}, ((0.005, 150), (0.05, 48), (INFINITE, 2)), 1.5),
        MethodCalls("/a/Slow", {"OK": 3}, ((0.005, 0), (INFINITE, 3)), 90.0),
    ]
    text = io.StringIO()
    Console(file=text, width=120).print(calls_view(rows))
    found = [line.split() for line in text.getvalue().splitlines()[3:] if line.strip()]
    assert found == [
        ["/a/List", "200", "1", "INTERNAL,", "2", "UNAVAILABLE", "5", "ms", "50", "ms"],
        ["/a/Slow", "3", "longer", "longer"],
        ["/a/Watch", "1"],
    ]


def test_the_calls_of_a_running_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOVIZ_HOME", str(tmp_path / "home"))
    claim(tmp_path / "home")
    with serving(tmp_path / "home") as served:
        monkeypatch.setenv("CRYPTOVIZ_CONTROL__PORT", served.address.rpartition(":")[2])
        for _ in range(2):
            done = CliRunner().invoke(app, ["calls", "--json"])
            assert done.exit_code == 0, done.output
    (listed,) = [one for one in json.loads(done.stdout)["methods"] if one["method"].endswith("/ListCallMetrics")]
    assert listed["calls"] == {"OK": 1}
    assert sum(one["calls"] for one in listed["latency"]) == 1
    assert listed["latency"][-1]["within_s"] is None
