"""Files of another user, as far as the testing user can create them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.intruder import NOBODY

__all__ = ["give_away"]


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the entry and its content to another user. Only root can do so; otherwise the tests treat this user as another one."""
    if os.geteuid() != 0:
        other = os.geteuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: other)
        return
    for each in (path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())):
        os.chown(each, NOBODY, NOBODY, follow_symlinks=False)
