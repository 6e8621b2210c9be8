"""Files of a folder in use. Any entry may be removed or renamed between two looks at it."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path


def files_in(folder: Path) -> Iterator[Path]:
    """Regular files at any depth. A folder that is removed meanwhile is left out, where `Path.rglob` raises."""
    for here, _, names in os.walk(folder):
        for name in names:
            path = Path(here, name)
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path


def contents(folder: Path, wanted: Callable[[Path], bool] = lambda path: True) -> Iterator[tuple[Path, bytes]]:
    """The wanted files that could still be read, with their content."""
    for path in files_in(folder):
        if wanted(path):
            with contextlib.suppress(FileNotFoundError):
                yield path, path.read_bytes()
