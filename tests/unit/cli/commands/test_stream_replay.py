"""`cryptoviz streams replay`: what it prints, and its exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cryptoviz.cli.commands import stream_replay
from cryptoviz.cli.main import app
from cryptoviz.errors import InvalidTime, UsageError
from cryptoviz.lake import frame_replay
from cryptoviz.lake.frame_replay import FrameReplay
from cryptoviz.settings import Settings, load_settings

Run = Callable[..., Result]
RANGE = ("--from", "2026-01-31T12:00:00Z", "--to", "2026-01-31T12:05:00Z")


@pytest.fixture
def found() -> FrameReplay:
    return FrameReplay("kraken", connections=2, frames=12_345, equal=9_000, copies=4)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: FrameReplay) -> Run:
    def replay(settings: Settings, venue: str, start: datetime, end: datetime) -> FrameReplay:
        assert (venue, start, end) == ("kraken", datetime(2026, 1, 31, 12, tzinfo=UTC), datetime(2026, 1, 31, 12, 5, tzinfo=UTC))
        return found

    monkeypatch.setattr(frame_replay, "replay_frames", replay)
    monkeypatch.setattr(stream_replay, "running_settings", lambda: load_settings(home=tmp_path))
    return lambda *arguments: CliRunner().invoke(app, ["streams", *arguments])


def test_equal_trades_are_counted_and_the_exit_code_is_0(run: Run) -> None:
    result = run("replay", "kraken", *RANGE)
    assert (result.exit_code, result.output.splitlines()) == (
        0,
        ["kraken: 12,345 frames of 2 connections", "trades: 9,000 equal, 0 different, 0 missing, 0 extra; 4 copies of trades from elsewhere"],
    )


@pytest.mark.parametrize("name", ["different", "missing", "extra", "doubled", "unreadable"])
def test_whatever_is_not_equal_is_exit_code_1(run: Run, found: FrameReplay, name: str) -> None:
    setattr(found, name, 1)
    found.differences.append("2026-01-31T12:00:01Z BTC/USD 7 price: recorded 1, replayed \x1b[31m2")
    result = run("replay", "kraken", *RANGE)
    assert result.exit_code == 1
    assert "  2026-01-31T12:00:01Z BTC/USD 7 price: recorded 1, replayed \\x1b[31m2" in result.output
    parsed = run("replay", "kraken", *RANGE, "--json")
    assert (parsed.exit_code, json.loads(parsed.output)[name], json.loads(parsed.output)["ok"]) == (1, 1, False)


def test_what_was_not_compared_is_shown(run: Run, found: FrameReplay) -> None:
    found.unrecorded_rows, found.bad_frames = 1_500, 3
    text = run("replay", "kraken", *RANGE).output
    assert "1,500 rows of the lake are of frames that are not recorded, or not yet: not compared" in text
    assert "12,345 frames (3 not as documented) of 2" in text


def test_where_the_lake_ends_is_shown_if_trades_are_newer(run: Run, found: FrameReplay) -> None:
    found.extra, found.lake_until = 3, "2026-01-31T12:04:00Z"
    result = run("replay", "kraken", *RANGE)
    assert "the newest trade of the lake in this time arrived 2026-01-31T12:04:00Z: later ones are extra until the lake has them" in result.output
    found.lake_until = ""
    assert "the lake has no trade of this time: later ones are extra until the lake has them" in run("replay", "kraken", *RANGE).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mtgox", *RANGE), "VENUE is 'mtgox': valid are binance, kraken, coinbase"),
        (("kraken", "--from", "2026-01-31T12:00:00", "--to", RANGE[3]), "--from is '2026-01-31T12:00:00' without a time zone"),
        (("kraken", "--from", RANGE[1], "--to", "soon"), "--to is 'soon': valid is ISO 8601"),
        (("kraken", "--from", RANGE[3], "--to", RANGE[1]), "is not before --to"),
    ],
    ids=["venue", "zone", "text", "order"],
)
def test_wrong_usage_is_named(run: Run, arguments: tuple[str, ...], message: str) -> None:
    result = run("replay", *arguments)
    assert isinstance(result.exception, UsageError | InvalidTime)
    assert message in result.exception.message


def test_an_option_of_the_table_before_the_command_is_refused(run: Run) -> None:
    result = run("--json", "replay", "kraken", *RANGE)
    assert isinstance(result.exception, UsageError)
