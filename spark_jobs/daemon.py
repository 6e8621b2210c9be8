"""Spark's Python worker daemon, with the writer's libraries loaded before it forks.

A worker that Spark starts anew (it drops idle ones after a minute) then begins in milliseconds instead of importing for half a second.
"""

from __future__ import annotations

import pandas  # noqa: F401, ICN001 (loaded, as those below, for the workers that are forked from here)
from pyspark import daemon

import spark_jobs.write  # noqa: F401

if __name__ == "__main__":
    daemon.manager()
