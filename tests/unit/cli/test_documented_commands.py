"""Each command line in README and docs/ is valid: names, options, arguments."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from typer._click.exceptions import UsageError

from cryptoviz.cli.main import app
from tests.support.documents import Command, commands


@pytest.mark.parametrize("command", commands(), ids=str)
def test_a_documented_command_is_valid(command: Command) -> None:
    parse(command.arguments)


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert len(commands()) >= 20
    for wrong in (("nothing",), ("status", "--wathc"), ("query",), ("providers", "open")):
        with pytest.raises(UsageError):
            parse(wrong)


def parse(arguments: tuple[str, ...]) -> None:
    """Parse like the program, with commands that do nothing."""
    root = typer.main.get_command(app)
    _disarm(root)
    root.main(list(arguments), prog_name="cryptoviz", standalone_mode=False)


def _disarm(command: Any) -> None:
    command.callback = lambda **_: None
    for one in getattr(command, "commands", {}).values():
        _disarm(one)
