"""Start offsets of the job: the tables' progress compared with the offsets that Kafka still has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptoviz.errors import LakeError
from spark_jobs.streaming.batch_plan import Ranges

__all__ = ["StartPoint", "check_start", "redo_ends"]


@dataclass(frozen=True, slots=True)
class StartPoint:
    """A topic-partition at the start of the job: Kafka's offsets `[earliest, end)` and the table's progress, None without any."""

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
        accept_lost: start at the earliest offset where Kafka has dropped records that the lake never read.

    Raises:
        LakeError: Kafka no longer has offsets that the lake needs, or ends below the lake's progress; the message names the range.
    """
    start: dict[str, dict[int, int]] = {}
    for point in points:
        progress = point.earliest if point.progress is None else point.progress
        if progress > point.end:
            raise LakeError(
                f"{point.topic}[{point.partition}]: the lake has read offsets up to {progress}, but the topic (id {point.topic_id}) ends at "
                f"{point.end}: Kafka has lost [{point.end}, {progress}). Nothing was overwritten. Re-create the topic, so that it gets a new id.",
                topic=point.topic,
                partition=point.partition,
            )
        if progress < point.earliest and not accept_lost:
            raise LakeError(
                f"{point.topic}[{point.partition}]: Kafka no longer has the offsets [{progress}, {point.earliest}), and the lake never read them. "
                "Nothing was overwritten. To continue without them set CRYPTOVIZ_LAKE__ACCEPT_LOST_OFFSETS=true.",
                topic=point.topic,
                partition=point.partition,
            )
        start.setdefault(point.topic, {})[point.partition] = max(progress, point.earliest)
    return start


def redo_ends(points: list[StartPoint], start: Mapping[str, Mapping[int, int]], planned: Ranges) -> dict[tuple[str, int], int]:
    """End offsets, by topic and partition, of a batch that an earlier run planned but did not commit. Its files may exist, so the first batch of this
    run repeats it with the same bounds. Omits ranges that begin elsewhere, end past Kafka's end, or belong to a deleted topic.
    """
    found = {}
    for point in points:
        begin, end = planned.get((point.topic_id, point.partition), (0, 0))
        if begin == start[point.topic][point.partition] and begin < end <= point.end:
            found[point.topic, point.partition] = end
    return found
