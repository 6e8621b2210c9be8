"""What of the shell's environment may count: enough for a program to run, and nothing about where data lie or how they are reached."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["PLAIN_NAMES", "without_the_shell"]

PLAIN_NAMES = frozenset(
    ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "PATH", "TMPDIR", "TZ")
)  # fmt: skip
"""What a program needs to run at all. No proxy and no authorities: those are settings (`network`), for what leaves for the internet."""
_OF_OTHERS = ("CRYPTOVIZ_", "JAVA_HOME", "JUPYTER_", "PYSPARK_", "PYTEST_", "PYTHON", "RAY_", "SPARK_", "_SPARK_")
_lock = threading.RLock()


@contextmanager
def without_the_shell() -> Iterator[None]:
    """The environment of this process reduced to the plain names, for a library that reads it behind its explicit options.

    Where there is nothing to take away, as in our own processes, nothing happens. One thread at a time; the variables come back.
    """
    with _lock:
        taken = {name: value for name, value in os.environ.items() if name not in PLAIN_NAMES and not name.startswith(_OF_OTHERS)}
        for name in taken:
            del os.environ[name]
        try:
            yield
        finally:
            os.environ.update(taken)
