"""Spark's Python worker daemon, with the writer's libraries loaded before it forks.

A worker that Spark starts anew (it drops idle ones after a minute) then begins in milliseconds instead of importing for half a second.

pandas is kept out: nothing here uses it, but pyarrow imports it wherever it is installed, 25 MB in each worker.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder

from pyspark import daemon

_LIBRARIES = ("pyspark.sql.pandas.serializers", "pyspark.sql.pandas.types", "pyspark.sql.pandas.utils", "spark_jobs.write")


class _WithoutPandas(MetaPathFinder):
    """Makes pandas look as if it were not installed, which pyarrow is fine with."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        del path, target
        if name == "pandas":
            raise ModuleNotFoundError("the lake's workers do without pandas", name=name)


if __name__ == "__main__":
    sys.meta_path.insert(0, _WithoutPandas())
    for name in _LIBRARIES:
        import_module(name)
    daemon.manager()
