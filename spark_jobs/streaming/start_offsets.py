"""Where the job starts to read: the tables' progress against what Kafka still holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptoviz.errors import LakeError
from spark_jobs.streaming.batch_plan import Ranges

__all__ = ["StartPoint", "check_start", "redo_ends"]


@dataclass(frozen=True, slots=True)
class StartPoint:
    """A topic-partition at the start of the job: what Kafka still has, `[earliest, end)`, and the table's progress, None when it has none."""

    topic: str
    topic_id: str
    partition: int
    earliest: int
    end: int
    progress: int | None


def check_start(points: list[StartPoint], *, accept_lost: bool = False) -> dict[str, dict[int, int]]:
    """The offset to start from, by topic and partition.

    Args:
        points: every partition of every topic.
        accept_lost: go on at the earliest offset where Kafka has dropped records that the lake never took.

    Raises:
        LakeError: Kafka no longer has offsets that the lake needs, or holds fewer than the lake has taken; it names the range.
    """
    start: dict[str, dict[int, int]] = {}
    for point in points:
        progress = point.earliest if point.progress is None else point.progress
        if progress > point.end:
            raise LakeError(
                f"{point.topic}[{point.partition}]: the lake has taken offsets up to {progress}, but the topic (id {point.topic_id}) ends at "
                f"{point.end}: Kafka has lost [{point.end}, {progress}). Nothing was overwritten. Re-create the topic, so that it gets a new id.",
                topic=point.topic,
                partition=point.partition,
            )
        if progress < point.earliest and not accept_lost:
            raise LakeError(
                f"{point.topic}[{point.partition}]: offsets [{progress}, {point.earliest}) are no longer in Kafka and were never taken into the "
                "lake. Nothing was overwritten. To go on without them set CRYPTOVIZ_LAKE__ACCEPT_LOST_OFFSETS=true.",
                topic=point.topic,
                partition=point.partition,
            )
        start.setdefault(point.topic, {})[point.partition] = max(progress, point.earliest)
    return start


def redo_ends(points: list[StartPoint], start: Mapping[str, Mapping[int, int]], planned: Ranges) -> dict[tuple[str, int], int]:
    """The ends, by topic and partition, of what an earlier run had planned and no commit has: its files may be there, so the first batch of this run
    makes the same. That takes the same bounds: what begins elsewhere, ends past what Kafka has, or is of a topic that is no more, is left out.
    """
    found = {}
    for point in points:
        begin, end = planned.get((point.topic_id, point.partition), (0, 0))
        if begin == start[point.topic][point.partition] and begin < end <= point.end:
            found[point.topic, point.partition] = end
    return found
