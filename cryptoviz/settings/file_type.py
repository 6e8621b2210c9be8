"""Types of paths in settings. Paths are absolute, so that every process uses the same file in any working directory."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from cryptoviz.local.ownership import canonical

__all__ = ["File", "Folder"]


def _usable(path: Path) -> Path:
    """Return the path if all engines accept it. Raises ValueError."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError(f"the path {os.fsencode(path)!r} is not UTF-8: choose a folder whose name is") from None
    if any(unicodedata.category(character) == "Cc" for character in str(path)):
        raise ValueError("the path contains a control character (such as a line break or tab): choose a folder without one")
    return path


def _absolute(value: Path) -> Path:
    """Expand `~`. Raises ValueError for a relative path, because processes run in different working directories."""
    try:
        path = value.expanduser()
    except (OSError, RuntimeError) as error:
        raise ValueError(f"the path cannot be resolved: {error}") from None
    if not path.is_absolute():
        raise ValueError("the path is relative: valid is an absolute path, or a path that begins with ~")
    return _usable(path)


def _not_empty(value: Any) -> Any:
    """Refuse an empty text, which would mean the working directory."""
    if isinstance(value, str) and not value.strip():
        raise ValueError("it is empty: valid is an absolute path, or leave it unset")
    return value


File = Annotated[Path, BeforeValidator(_not_empty), AfterValidator(_absolute)]
"""Absolute path."""

Folder = Annotated[File, AfterValidator(canonical)]
"""Absolute path with links resolved, so that comparisons and hashes of the folder do not depend on links."""
