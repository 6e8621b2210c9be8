"""The bearer token of the control service: generated once, stored in a file readable only by its owner, compared in constant time."""

from __future__ import annotations

import hmac
from pathlib import Path

from cryptoviz import private

__all__ = ["ensure_token", "same_token"]


def ensure_token(path: Path) -> str:
    """The token in `path`, generated if the file is missing. Raises SettingsError if others can access the file or it contains no token."""
    return private.ensure_token(path, "CRYPTOVIZ_HOME")


def same_token(given: str, expected: str) -> bool:
    """Constant-time comparison."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8"))
