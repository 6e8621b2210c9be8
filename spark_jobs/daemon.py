"""Spark's Python worker daemon, with the writer's libraries loaded before it forks.

A worker that Spark starts anew (it drops idle ones after a minute) then begins in milliseconds instead of importing for half a second.
"""

from __future__ import annotations

from pyspark import daemon

import spark_jobs.write  # noqa: F401 (loaded for the workers that are forked from here)

if __name__ == "__main__":
    daemon.manager()
