"""The commands of `cryptoviz`, and their parsing without running them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from cryptoviz.cli.main import app

__all__ = ["every_command", "parse"]


def every_command() -> dict[str, Any]:
    """Each command by its path, such as `operations watch`; a group that does something itself too."""
    return dict(_below(typer.main.get_command(app), ()))


def parse(arguments: tuple[str, ...]) -> None:
    """Parse like the program, with commands that do nothing."""
    root = typer.main.get_command(app)
    _disarm(root)
    root.main(list(arguments), prog_name="cryptoviz", standalone_mode=False)


def _below(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if path:
        yield " ".join(path), command
    for name, one in getattr(command, "commands", {}).items():
        yield from _below(one, (*path, name))


def _disarm(command: Any) -> None:
    command.callback = lambda **_: None
    for one in getattr(command, "commands", {}).values():
        _disarm(one)
