"""The bearer token of the control service: made once, kept in a file that only its owner reads, compared in constant time."""

from __future__ import annotations

import hmac
from pathlib import Path

from cryptoviz import private

__all__ = ["ensure_token", "same_token"]


def ensure_token(path: Path) -> str:
    """The token in `path`, made there first when the file is missing. Raises SettingsError when the file is not ours alone or holds no token."""
    return private.ensure_token(path, "CRYPTOVIZ_HOME")


def same_token(given: str, expected: str) -> bool:
    """Whether they are equal, in a time that says nothing about where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8"))
