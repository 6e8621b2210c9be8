"""Options that contradict each other or have no effect are refused before anything is read or done."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cryptoviz.cli.commands import operations, providers
from cryptoviz.cli.commands import query as data
from cryptoviz.cli.main import main
from cryptoviz.errors import UsageError


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    for module in (data, operations, providers):
        module.register(made)
    return made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("query -f csv --json SELECT", "--json and --format csv contradict each other: valid is one of them"),
        ("dead-letters --show a:0:1 --export x.csv", "--show and --export contradict each other: valid is one of them"),
        ("dead-letters --show a:0:1 --since 2026-01-01T00:00:00Z", "--show and --since contradict each other: valid is one of them"),
        ("dead-letters --export x.csv --limit 5", "--export and --limit contradict each other: valid is one of them"),
        ("dead-letters --export x.csv --json", "--export and --json contradict each other: valid is one of them"),
        (
            "dead-letters --since 2026-01-01T00:00:00Z replay",
            "--since before 'replay' would count for nothing: valid is `root dead-letters replay --since ..`, where it has that option",
        ),
        (
            "operations --json watch x",
            "--json before 'watch' would count for nothing: valid is `root operations watch --json ..`, where it has that option",
        ),
        (
            "providers --json trip x",
            "--json before 'trip' would count for nothing: valid is `root providers trip --json ..`, where it has that option",
        ),
    ],
)
def test_contradictions(app: typer.Typer, arguments: str, message: str) -> None:
    done = CliRunner().invoke(app, arguments.split())
    assert isinstance(done.exception, UsageError), done.output
    assert done.exception.message == message


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("query 'SELECT 1' --format parquet", 2, "error: --format parquet requires --output FILE"),
        ("query 'SELECT 1' --format csv --json", 2, "error: --json and --format csv contradict each other"),
        ("query 'SELECT 1' --output /dev/null --format csv", 2, "error: --output /dev/null is not a regular file"),
        ("query 'SELECT 1' --output /nowhere/x.csv", 1, "error: --output /nowhere/x.csv cannot be written"),
        ("query 'SELEC 1'", 1, "error: Parser Error"),
        ("tokens add ../x --role read", 2, "error: NAME is '../x': valid are 1 to 32"),
        ("tokens revoke owner", 2, "error: commands use the owner's token"),
        ("tokens revoke nobody --yes", 1, "error: no token 'nobody'"),
        ("dead-letters --since yesterday", 2, "error: --since is 'yesterday': valid"),
        ("dead-letters --show nonsense", 2, "error: invalid position 'nonsense': valid is topic:partition:offset"),
        ("alerts add price NOPE --above 1", 2, "error: subject is 'NOPE': valid is bitcoin, "),
        ("alerts add price BTC --above x", 2, "error: above is 'x': valid is a price above 0"),
        ("alerts add change BTC --below -5 --over 15q", 2, "error: over is '15q': valid is "),
    ],
    ids=(
        [
            "output-missing",
            "contradiction",
            "device",
            "folder-missing",
            "sql",
            "name",
            "owner",
            "unknown-name",
            "time",
            "position",
            "alert-subject",
            "alert-limit",
            "alert-period",
        ]
    ),
)
def test_exit_codes_tell_wrong_usage_from_other_errors(
    arguments: str, code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CRYPTOVIZ_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["cryptoviz", *shlex.split(arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err[: len(message)]) == (code, message)
