"""What is computed from the shared state, once for all sessions that show the same version of it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

__all__ = ["Derived"]

T = TypeVar("T")

_KEPT = 64


class Derived:
    """The newest results, by a key that names the result and the versions that it is of. Thread-safe; equal concurrent work may be done twice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._results: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The result of `make` for this key."""
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
                return cast("T", self._results[key])
        made = make()
        with self._lock:
            self._results[key] = made
            while len(self._results) > _KEPT:
                self._results.popitem(last=False)
        return made
