"""Paths in settings: such that every program takes them for the same file, whatever folder it runs in."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from cryptoviz.ownership import canonical

__all__ = ["File", "Folder"]


def _usable(path: Path) -> Path:
    """The path, if every program that gets it can take it. Raises ValueError."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError(f"the path {os.fsencode(path)!r} is not UTF-8: choose a folder whose name is") from None
    if any(unicodedata.category(character) == "Cc" for character in str(path)):
        raise ValueError("the path holds a control character (a line end, a tab): choose a folder without one")
    return path


def _absolute(value: Path) -> Path:
    """The path without `~`. Raises ValueError for one that depends on where a program runs: ours run in several folders."""
    try:
        path = value.expanduser()
    except (OSError, RuntimeError) as error:
        raise ValueError(f"the path cannot be resolved: {error}") from None
    if not path.is_absolute():
        raise ValueError("the path is relative: valid is an absolute one, or one that begins with ~")
    return _usable(path)


def _not_empty(value: Any) -> Any:
    """The text, unless there is none: it would mean the working directory."""
    if isinstance(value, str) and not value.strip():
        raise ValueError("it is empty: valid is an absolute path, or leave it unset")
    return value


File = Annotated[Path, BeforeValidator(_not_empty), AfterValidator(_absolute)]
"""A path that means the same file to every program."""

Folder = Annotated[File, AfterValidator(canonical)]
"""One name for one place: what compares, hashes or searches for the folder finds it, whatever links a user names it with."""
