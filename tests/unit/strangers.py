"""Files of another user, as far as the user who tests can make them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.intruder import NOBODY

__all__ = ["give_away"]


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the entry, and what lies in it, another user's. Only root may do so; for anyone else this user becomes another one instead."""
    if os.geteuid() != 0:
        other = os.geteuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: other)
        return
    for each in (path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())):
        os.chown(each, NOBODY, NOBODY, follow_symlinks=False)
