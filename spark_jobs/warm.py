"""A first task for the executor while the driver is still building the query: its Arrow and Python paths are then loaded before the first batch."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from cryptoviz.log import get_logger

__all__ = ["warm_up"]

log = get_logger("lake")


def warm_up(session: Any, cores: int) -> None:
    """Begin in a thread of its own; a failure costs nothing but the time saved."""
    threading.Thread(target=_run, args=(session, cores), name="lake-warm", daemon=True).start()


def _run(session: Any, cores: int) -> None:
    try:
        session.range(0, cores, 1, cores).mapInArrow(_pass_through, "id long").collect()
    except (Py4JError, PySparkException, OSError) as error:
        log.debug("the warm-up failed", error=str(error)[:200])


def _pass_through(batches: Iterable[Any]) -> Iterator[Any]:
    yield from batches
