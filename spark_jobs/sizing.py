"""How many records Spark hands to Python at once. It counts records and not bytes: 8 192 bodies of 1 MiB would end the executor."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ARROW_RECORDS", "ARROW_RECORDS_KEY", "Sizing"]

ARROW_RECORDS_KEY = "spark.sql.execution.arrow.maxRecordsPerBatch"
ARROW_RECORDS = 8192
"""As many as pay for small records."""
_BYTES_AT_ONCE = 32 << 20  # an executor of 640 MB holds several of these: the vector that grows, its copy, one for each task
_UNKNOWN_BYTES = 1 << 20  # the body limit of a raw exchange
_LARGE_BYTES = _BYTES_AT_ONCE // ARROW_RECORDS


class Sizing:
    """Learns the largest record of each topic as batches go by. A record of unknown size is taken for a large one where a topic may have such.

    A topic whose records turn out larger than ever before may still end the executor once; the next run begins with the careful guess.
    """

    def __init__(self, large_topics: frozenset[str]) -> None:
        """`large_topics` are those whose records may be larger than 4 KiB."""
        self._largest: dict[str, int] = dict.fromkeys(large_topics, _UNKNOWN_BYTES)
        self._guessed = set(large_topics)

    def records(self, counts: Mapping[str, int]) -> int:
        """At most so many at once, when the next batch has `counts` records by topic."""
        limit = ARROW_RECORDS
        for topic, count in counts.items():
            largest = max(self._largest.get(topic, 0), _LARGE_BYTES)
            if count * largest > _BYTES_AT_ONCE:
                limit = min(limit, max(1, _BYTES_AT_ONCE // largest))
        return limit

    def learn(self, topic: str, largest_bytes: int) -> None:
        """The largest record of a batch."""
        if topic in self._guessed:
            self._guessed.discard(topic)
            self._largest[topic] = 0
        self._largest[topic] = max(self._largest.get(topic, 0), largest_bytes)
