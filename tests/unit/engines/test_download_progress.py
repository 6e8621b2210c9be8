"""Progress display of downloads and builds."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from cryptoviz.engines import download_progress as progress
from cryptoviz.engines.download_progress import BarProgress, LineProgress, progress_for


def test_lines_come_at_the_begin_the_end_and_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    out = io.StringIO()
    lines = LineProgress(Console(file=out, width=200))
    lines.begin("jars", 10_000_000)
    for now[0] in (1.0, 4.9, 5.0, 6.0, 9.9, 10.1):
        lines.advance("jars", 1_000_000)
    lines.end("jars")
    assert out.getvalue().splitlines() == ["jars: 10.0 MB", "jars: 3.0 of 10.0 MB", "jars: 6.0 of 10.0 MB", "jars: done"]


def test_an_estimate_is_never_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    out = io.StringIO()
    lines = LineProgress(Console(file=out, width=200))
    lines.begin("MinIO", 2, "packages")
    for _ in range(3):
        lines.advance("MinIO", 1)
    assert out.getvalue().splitlines()[-1] == "MinIO: 2 of 2 packages"


def test_a_terminal_gets_bars() -> None:
    out = io.StringIO()
    bars = progress_for(Console(file=out, force_terminal=True, width=120))
    assert isinstance(bars, BarProgress)
    with bars:
        bars.begin("jars", 4_000_000)
        bars.advance("jars", 1_000_000)
        bars.say("a word")
        bars.end("jars")
    assert "a word" in out.getvalue()
    assert "1.0/4.0 MB" in out.getvalue()


def test_a_pipe_gets_lines() -> None:
    assert isinstance(progress_for(Console(file=io.StringIO())), LineProgress)
