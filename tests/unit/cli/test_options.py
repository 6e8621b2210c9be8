"""Options that contradict each other or have no effect are refused before anything is read or done."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from cryptoviz.cli.commands import operations, providers
from cryptoviz.cli.commands import query as data
from cryptoviz.errors import SettingsError


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
    assert isinstance(done.exception, SettingsError), done.output
    assert done.exception.message == message
