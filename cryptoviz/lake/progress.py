"""Progress of a table: the next offset to read of each topic-partition, stored in its Delta log.

Each commit carries it twice: in its metadata, and as one app transaction for each topic-partition (`offset_app`). The metadata is lost if a foreign
tool writes a checkpoint and cleans up the log; app transactions are part of every checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from cryptoviz.errors import LakeError
from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.schema import KAFKA_POSITION

__all__ = ["METADATA_KEY", "Offsets", "Progress", "kept_offsets", "merge", "offset_app", "offsets_between", "offsets_of_rows", "read_progress"]

METADATA_KEY = "cryptoviz"
_VERSION = 1
# Numbers of commits to search. Each commit is one small object; only foreign tools commit without our metadata.
_HISTORY_STEPS = (1, 20, 200)

Offsets = Mapping[tuple[str, int], int]
"""(topic UUID, partition) to the next offset to read."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Metadata of a commit: the run that made it, its sequence number among the job's commits, and the offsets after it."""

    run: str
    sequence: int
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)

    def to_json(self) -> str:
        topics: dict[str, dict[str, int]] = {}
        for (topic_id, partition), offset in sorted(self.offsets.items()):
            topics.setdefault(topic_id, {})[str(partition)] = offset
        return json.dumps({"version": _VERSION, "run": self.run, "sequence": self.sequence, "offsets": topics}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Progress:
        """Parse the output of `to_json`.

        Raises:
            LakeError: the text is invalid or of another version; guessed progress would lose or duplicate rows.
        """
        try:
            data = json.loads(text)
            version = int(data["version"])
            offsets = {(topic, int(partition)): int(offset) for topic, of in data["offsets"].items() for partition, offset in of.items()}
            progress = cls(str(data["run"]), int(data["sequence"]), offsets)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LakeError(f"the table's last commit has invalid progress metadata ({error}): {text[:200]}") from None
        if version != _VERSION:
            raise LakeError(f"the table's last commit has progress metadata of version {version}, this release supports {_VERSION}: update CryptoViz")
        return progress


def merge(before: Offsets, after: Offsets) -> dict[tuple[str, int], int]:
    """The later offset of each topic-partition: progress never decreases."""
    merged = dict(before)
    for key, offset in after.items():
        merged[key] = max(offset, merged.get(key, 0))
    return merged


def offsets_between(before: Offsets, after: Offsets) -> int:
    """How far `after` is ahead, over its topic-partitions; those where it is behind count as equal, those that `before` lacks from 0."""
    return sum(max(0, offset - before.get(key, 0)) for key, offset in after.items())


def offset_app(topic_id: str, partition: int) -> str:
    """Name of the app transaction whose version is the next offset to read of a topic-partition."""
    return f"cryptoviz-offsets/{topic_id}/{partition}"


def read_progress(table: DeltaTable) -> Progress | None:
    """Progress from the newest commit that carries it: the last commit, unless a foreign tool has committed since. None for a table without progress,
    or if a foreign tool has cleaned up those commits (see `kept_offsets`).

    Raises:
        LakeError: a commit has invalid progress metadata.
    """
    for limit in _HISTORY_STEPS:
        for commit in table.history(limit):
            if METADATA_KEY in commit:
                return Progress.from_json(commit[METADATA_KEY])
    return None


def kept_offsets(table: DeltaTable, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Next offsets of these topic-partitions from app transactions, which survive log cleanup; omits those without any."""
    found = {key: table.transaction_version(offset_app(*key)) for key in partitions}
    return {key: offset for key, offset in found.items() if offset is not None}


def offsets_of_rows(table: DeltaTable) -> dict[tuple[str, int], int]:
    """One past the last offset of each topic-partition in the table's rows. No record between it and the true progress has a row in the table, so
    reading from there loses and duplicates nothing. Reads three columns of the whole table.
    """
    found: dict[tuple[str, int], int] = {}
    columns = list(KAFKA_POSITION)
    for batch in table.to_pyarrow_dataset().to_batches(columns=columns):
        rows = pa.Table.from_batches([batch]).drop_null()
        last = rows.group_by(columns[:2]).aggregate([("kafka_offset", "max")])
        for topic_id, partition, offset in zip(*(last[name].to_pylist() for name in (*columns[:2], "kafka_offset_max")), strict=True):
            found[str(topic_id), int(partition)] = max(int(offset) + 1, found.get((str(topic_id), int(partition)), 0))
    return found
