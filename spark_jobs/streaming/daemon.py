"""Spark's Python worker daemon, which imports the writer's libraries before it forks.

Spark drops idle workers after a minute. A new worker then starts in milliseconds instead of importing for half a second.

Spark adds archives to `sys.path`: its zip of PySpark and one of its jars. Each task calls `importlib.invalidate_caches()`, which reads the directory
of an archive again, for the zip once for each package in use: 85 ms of CPU time a task. They are removed, since PySpark is installed. After a task
the worker runs the garbage collector, which visits every object loaded before the fork (45 ms, and copies their pages) unless they are frozen.

pandas is blocked: nothing here uses it, but pyarrow imports it if installed, 25 MB in each worker.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from importlib.abc import MetaPathFinder

_LIBRARIES = ("spark_jobs.streaming.tasks",)


class _WithoutPandas(MetaPathFinder):
    """Hides pandas; pyarrow then works without it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        del path, target
        if name == "pandas":
            raise ModuleNotFoundError("pandas is blocked in the lake's Spark workers", name=name)


if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if not entry.endswith((".zip", ".jar"))]
    sys.path_importer_cache.clear()
    sys.meta_path.insert(0, _WithoutPandas())
    for name in _LIBRARIES:
        import_module(name)
    daemon = import_module("pyspark.daemon")
    gc.freeze()
    daemon.manager()
