"""How far a table is: the next offset to read of each topic-partition, as its Delta log's last commit says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptoviz.errors import LakeError

__all__ = ["METADATA_KEY", "Offsets", "Progress", "StartPoint", "check_start", "merge"]

METADATA_KEY = "cryptoviz"
_VERSION = 1

Offsets = Mapping[tuple[str, int], int]
"""(topic UUID, partition) to the next offset to read."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a commit says of itself: who made it, which one of the job's it was, and the offsets after it."""

    run: str
    sequence: int
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)

    def to_json(self) -> str:
        """The commit's metadata value."""
        topics: dict[str, dict[str, int]] = {}
        for (topic_id, partition), offset in sorted(self.offsets.items()):
            topics.setdefault(topic_id, {})[str(partition)] = offset
        return json.dumps({"version": _VERSION, "run": self.run, "sequence": self.sequence, "offsets": topics}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Progress:
        """Read what `to_json` wrote.

        Raises:
            LakeError: it says something else; a guess at progress would lose or double rows.
        """
        try:
            data = json.loads(text)
            version = int(data["version"])
            offsets = {(topic, int(partition)): int(offset) for topic, of in data["offsets"].items() for partition, offset in of.items()}
            progress = cls(str(data["run"]), int(data["sequence"]), offsets)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LakeError(f"the table's last commit carries progress that this version cannot read ({error}): {text[:200]}") from None
        if version != _VERSION:
            raise LakeError(f"the table's last commit carries progress of version {version}, this one reads {_VERSION}: update CryptoViz")
        return progress


def merge(before: Offsets, after: Offsets) -> dict[tuple[str, int], int]:
    """The later offset of each topic-partition: progress never goes back."""
    merged = dict(before)
    for key, offset in after.items():
        merged[key] = max(offset, merged.get(key, 0))
    return merged


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
