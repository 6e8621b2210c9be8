"""Options of several commands: confirmation, and refusal of options that contradict each other or would have no effect."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from cryptoviz.errors import AlertRefused, QueryError, UsageError

__all__ = ["Yes", "confirm", "given_options", "invalid_arguments", "refuse_before_subcommand", "refuse_together"]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; "no" ends the command with exit code 1. Without a terminal nothing is asked: a script states its intent by the command."""
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        typer.confirm(question, abort=True, err=True)


@contextlib.contextmanager
def invalid_arguments(setting: str = "") -> Iterator[None]:
    """Raise what a parser of arguments refuses as UsageError, whose exit code is 2. `setting`: the option, where the error does not name its own."""
    try:
        yield
    except AlertRefused as error:
        raise UsageError(error.message, setting=setting or error.field) from None
    except QueryError as error:
        raise UsageError(error.message, setting=setting or error.argument or "") from None


def given_options(context: typer.Context) -> list[str]:
    """The options given on the command line."""
    found = []
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        # Typer vendors the library that it is built on, whose classes have no public name.
        if parameter.param_type_name == "option" and source is not None and source.name == "COMMANDLINE":
            found.append(parameter.opts[0])
    return found


def refuse_together(context: typer.Context, option: str, *others: str) -> None:
    """Raise UsageError if `option` is given together with any of the others."""
    found = given_options(context)
    both = next((other for other in others if other in found and option in found), None)
    if both is not None:
        raise UsageError(f"{option} and {both} contradict each other: valid is one of them", setting=both)


def refuse_before_subcommand(context: typer.Context) -> None:
    """Raise UsageError for options of a command group given before a subcommand, which would not receive them."""
    found = given_options(context)
    if found:
        whole = f"{context.command_path} {context.invoked_subcommand}"
        text = f"{found[0]} before {context.invoked_subcommand!r} would count for nothing: valid is `{whole} {found[0]} ..`, where it has that option"
        raise UsageError(text, setting=found[0])
