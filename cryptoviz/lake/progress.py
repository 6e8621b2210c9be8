"""How far a table is: the next offset to read of each topic-partition, as its Delta log's last commit says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptoviz.errors import LakeError
from cryptoviz.lake.delta import DeltaTable

__all__ = ["METADATA_KEY", "Offsets", "Progress", "merge", "read_progress"]

METADATA_KEY = "cryptoviz"
_VERSION = 1
# Each look-up reads one small object; commits without our metadata only come from foreign tools.
_HISTORY_STEPS = (1, 20, 200)

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


def read_progress(table: DeltaTable) -> Progress | None:
    """Progress from the newest commit that carries any: the last one, unless a foreign tool has committed since. None for a table without.

    Raises:
        LakeError: the job has committed before, but the log no longer says how far it came.
    """
    for limit in _HISTORY_STEPS:
        for commit in table.history(limit):
            if METADATA_KEY in commit:
                return Progress.from_json(commit[METADATA_KEY])
    return None
