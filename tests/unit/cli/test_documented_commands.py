"""Each command line in README and docs/ is valid: names, options, arguments."""

from __future__ import annotations

import pytest
from typer._click.exceptions import UsageError

from tests.support.command_line import parse
from tests.support.documents import Command, commands


@pytest.mark.parametrize("command", commands(), ids=str)
def test_a_documented_command_is_valid(command: Command) -> None:
    parse(command.arguments)


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert len(commands()) >= 20
    for wrong in (("nothing",), ("status", "--wathc"), ("query",), ("providers", "open")):
        with pytest.raises(UsageError):
            parse(wrong)
