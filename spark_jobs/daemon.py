"""Spark's Python worker daemon, with the writer's libraries loaded before it forks.

A worker that Spark starts anew (it drops idle ones after a minute) then begins in milliseconds instead of importing for half a second.
"""

from __future__ import annotations

from importlib import import_module

from pyspark import daemon

_LIBRARIES = ("pandas", "pyspark.sql.pandas.serializers", "pyspark.sql.pandas.types", "pyspark.sql.pandas.utils", "spark_jobs.write")

if __name__ == "__main__":
    for name in _LIBRARIES:
        import_module(name)
    daemon.manager()
