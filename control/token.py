"""The bearer token of the control service: made once, kept in a file that only its owner reads, compared in constant time."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from cryptoviz.errors import SettingsError

__all__ = ["ensure_token", "same_token"]

_TOKEN_BYTES = 32
"""256 bits: not to be guessed."""


def ensure_token(path: Path) -> str:
    """The token in `path`, made there first when the file is missing. Raises SettingsError when it holds none or others may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{token}\n")
    try:
        # A link is made whole or not at all, and never over an existing file: of two that start at once one wins, and both read the same.
        os.link(scratch, path)
    except FileExistsError:
        return _read(path)
    finally:
        scratch.unlink()
    return token


def same_token(given: str, expected: str) -> bool:
    """Whether they are equal, in a time that says nothing about where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8"))


def _read(path: Path) -> str:
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"others may read the token file {path}: chmod 600 it, or remove it for a new token", setting="CRYPTOVIZ_HOME")
    token = path.read_text(encoding="ascii").strip()
    if not token:
        raise SettingsError(f"the token file {path} is empty: remove it for a new token", setting="CRYPTOVIZ_HOME")
    return token
