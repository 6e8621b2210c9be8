"""Spark's Python worker daemon, which imports the writer's libraries before it forks.

Spark drops idle workers after a minute. A new worker then starts in milliseconds instead of importing for half a second.

Spark adds archives to `sys.path`: its zip of PySpark and one of its jars. Each task calls `importlib.invalidate_caches()`, which reads the directory
of an archive again, for the zip once for each package in use: 85 ms of CPU time a task. They are removed, since PySpark is installed. After a task
the worker runs the garbage collector, which visits every object loaded before the fork (45 ms, and copies their pages) unless they are frozen.

pandas is hidden: nothing here uses it, but pyarrow imports it if installed, 25 MB in each worker.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module

from cryptoviz.local.hidden_modules import hide_modules

_LIBRARIES = ("spark_jobs.streaming.tasks",)


if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if not entry.endswith((".zip", ".jar"))]
    sys.path_importer_cache.clear()
    hide_modules("pandas")
    for name in _LIBRARIES:
        import_module(name)
    daemon = import_module("pyspark.daemon")
    gc.freeze()
    daemon.manager()
