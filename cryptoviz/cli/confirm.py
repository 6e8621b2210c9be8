"""Confirmation of commands that stop or revoke something."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

__all__ = ["Yes", "confirm"]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; "no" ends the command with exit code 1. Without a terminal nothing is asked: a script states its intent by the command."""
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        typer.confirm(question, abort=True, err=True)
