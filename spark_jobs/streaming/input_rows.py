"""Reports the records of a batch to Spark, for the input rate of its UI and the progress of the query.

The tasks read Kafka themselves, so Spark counts no row of its own source (docs/adr/0006-tasks-read-kafka-themselves.md). After the function of the
batch has returned, Spark takes `numInputRows` from the metric `numOutputRows` of the source in the batch's physical plan
(`ProgressReporter.extractSourceToNumInputRows`). Setting that metric feeds every place that shows it. It is internal to Spark: a failure is logged
once, and costs the figure only.
"""

from __future__ import annotations

from typing import Any

from py4j.protocol import Py4JError

from cryptoviz.log import get_logger
from cryptoviz.masking import clip

__all__ = ["InputRows"]

_METRIC = "numOutputRows"

log = get_logger("lake")


class InputRows:
    """Reports for the queries of one session, which has one query. For the thread of the batches."""

    def __init__(self, session: Any) -> None:
        self._streams = session._jsparkSession.streams()
        self._works = True

    def report(self, records: int) -> None:
        """The batch that runs now has read `records` records. Never raises for Spark's sake."""
        if not self._works:
            return
        try:
            for query in self._streams.active():
                leaves = query.streamingQuery().lastExecution().executedPlan().collectLeaves()
                for at in range(leaves.size()):
                    metric = leaves.apply(at).metrics().get(_METRIC)
                    if metric.isDefined():
                        metric.get().set(records)
        except (Py4JError, TypeError, AttributeError) as error:  # the last two: what this version of Spark does not have
            self._works = False
            log.warning("input_rows_not_reported", error=clip(f"{type(error).__name__}: {error}".splitlines()[0], 200))
