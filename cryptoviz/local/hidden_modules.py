"""Hides packages from the libraries that import them if they are installed. Used by processes that need neither the memory nor the time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder

__all__ = ["hide_modules", "without_modules"]


class _Hidden(MetaPathFinder):
    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        del path, target
        if name in self._names:
            raise ModuleNotFoundError(f"{name} is hidden in this process", name=name)


def hide_modules(*names: str) -> None:
    """Make later imports of these modules fail, as if they were not installed."""
    sys.meta_path.insert(0, _Hidden(names))


@contextmanager
def without_modules(*names: str) -> Iterator[None]:
    """Hide these modules from the imports within the context, unless they are imported already."""
    hidden = _Hidden(names)
    sys.meta_path.insert(0, hidden)
    try:
        yield
    finally:
        sys.meta_path.remove(hidden)
