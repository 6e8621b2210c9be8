"""Spark's Python worker daemon, with the writer's libraries loaded before it forks.

A worker that Spark starts anew (it drops idle ones after a minute) then begins in milliseconds instead of importing for half a second.

Spark puts its own copy of PySpark, a zip, and one of its jars on the path, and each task begins with `importlib.invalidate_caches()`, which reads the
directory of such an archive anew, for the zip once for each package in use: 85 ms of processor time a task. So the archives go: PySpark is installed.
After a task the worker collects garbage, which looks at every object that was loaded before the fork (45 ms, and a copy of their pages) unless they
are frozen.

pandas is kept out: nothing here uses it, but pyarrow imports it wherever it is installed, 25 MB in each worker.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from importlib.abc import MetaPathFinder

_LIBRARIES = ("spark_jobs.streaming.tasks",)


class _WithoutPandas(MetaPathFinder):
    """Makes pandas look as if it were not installed, which pyarrow is fine with."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        del path, target
        if name == "pandas":
            raise ModuleNotFoundError("the lake's workers do without pandas", name=name)


if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if not entry.endswith((".zip", ".jar"))]
    sys.path_importer_cache.clear()
    sys.meta_path.insert(0, _WithoutPandas())
    for name in _LIBRARIES:
        import_module(name)
    daemon = import_module("pyspark.daemon")
    gc.freeze()
    daemon.manager()
