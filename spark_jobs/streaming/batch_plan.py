"""Batch plan: the offset ranges of the next batch, stored in one object before the batch writes its first file.

The object is updated by compare-and-swap. A new run takes it over at its start; from then on the batch plans of an older run are refused before it
uploads a file. The older run may still upload files of its last batch plan, which the new run repeats first, byte for byte. So no file above the
tables' progress has to be deleted on a guess (docs/adr/0007-batches-are-planned-and-sweeps-fenced.md).

The batch plan does not protect the tables: their logs alone decide what a commit may add.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from cryptoviz.errors import EngineUnavailable, LakeError
from cryptoviz.lake.conditional_object import ConditionalObject, ObjectChanged
from cryptoviz.log import get_logger

__all__ = ["BatchPlan", "Planned", "Ranges"]

_VERSION = 1
_TRIES = 5  # for runs that start at the same time

Ranges = Mapping[tuple[str, int], tuple[int, int]]
"""(topic UUID, partition) to the offsets `[start, end)`."""

log = get_logger("lake")


@dataclass(frozen=True, slots=True)
class Planned:
    """Content of the object.

    Attributes:
        run: the run that wrote it.
        number: sequence number of the write; makes each content unique.
        ranges: offset ranges of the last batch begun.
        avoid: by table, names of files above its progress that were or will be deleted; no batch may write a file of such a name.
    """

    run: str = ""
    number: int = 0
    ranges: Ranges = field(default_factory=dict)
    avoid: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def to_json(self) -> bytes:
        ranges = [[topic_id, partition, start, end] for (topic_id, partition), (start, end) in sorted(self.ranges.items())]
        avoid = {table: sorted(paths) for table, paths in sorted(self.avoid.items()) if paths}
        return json.dumps({"version": _VERSION, "run": self.run, "number": self.number, "ranges": ranges, "avoid": avoid}).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Planned:
        """Parse the output of `to_json`.

        Raises:
            LakeError: the content is invalid or of another version.
        """
        try:
            data = json.loads(content)
            ranges = {(str(topic_id), int(partition)): (int(start), int(end)) for topic_id, partition, start, end in data["ranges"]}
            avoid = {str(table): frozenset(map(str, paths)) for table, paths in data["avoid"].items()}
            version, planned = int(data["version"]), cls(str(data["run"]), int(data["number"]), ranges, avoid)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LakeError(f"invalid batch plan of the lake job ({error}): {content[:200]!r}; delete the object if no lake job runs") from None
        if version != _VERSION:
            raise LakeError(f"the lake job's batch plan has version {version}, this release supports {_VERSION}: update CryptoViz")
        return planned


class BatchPlan:
    """Access of this run to the batch plan object. Not thread-safe."""

    def __init__(self, object_: ConditionalObject, run: str) -> None:
        """No request before `take_over`."""
        self._object = object_
        self._run = run
        self._etag: str | None = None
        self._planned = Planned()

    @property
    def avoid(self) -> Mapping[str, frozenset[str]]:
        return self._planned.avoid

    def take_over(self) -> Planned:
        """Take the object over and return the last batch plan of the earlier run, whose next write is refused.

        Raises:
            LakeError: the object is invalid, or other runs took it over in each of the tries.
            EngineUnavailable: the store does not answer.
        """
        for _ in range(_TRIES):
            seen = self._object.read()
            before = Planned.from_json(seen.content) if seen else Planned()
            mine = replace(before, run=self._run, number=self._planned.number + 1)
            try:
                self._etag = self._object.write(mine.to_json(), seen.etag if seen else None)
            except ObjectChanged:
                continue
            self._planned = mine
            return before
        raise LakeError(f"the lake job's batch plan was taken over by {_TRIES} other runs during the start of run {self._run}")

    def write(self, ranges: Ranges) -> None:
        """Store the ranges of the next batch. Idempotent: may be repeated after an unknown outcome.

        Raises:
            LakeError: another run has taken the object over; nothing was written.
            EngineUnavailable: the store does not answer; the outcome is unknown.
        """
        self._change(replace(self._planned, ranges=dict(ranges)))

    def avoid_names(self, names: Mapping[str, Iterable[str]]) -> None:
        """Replace the file names to avoid, by table. Raises as `write`."""
        avoid = {table: frozenset(paths) for table, paths in names.items()}
        if avoid != dict(self._planned.avoid):
            self._change(replace(self._planned, avoid=avoid))

    def _change(self, wanted: Planned) -> None:
        planned = replace(wanted, number=self._planned.number + 1)
        for _ in range(_TRIES):
            try:
                etag = self._object.write(planned.to_json(), self._etag)
            except ObjectChanged:
                there = self._read_owner()
                if there is not None and (there.ranges, there.avoid) == (planned.ranges, planned.avoid):
                    self._planned = there
                    return
                continue
            self._etag, self._planned = etag, planned
            return
        raise EngineUnavailable(f"the lake job's batch plan changed {_TRIES} times while run {self._run} wrote it", engine="object-store")

    def _read_owner(self) -> Planned | None:
        """Read the owner after a refused write, because an earlier write of this run may have succeeded without a response."""
        seen = self._object.read()
        if seen is None:  # the object was deleted
            self._etag = None
            return None
        there = Planned.from_json(seen.content)
        if there.run != self._run:
            log.warning("plan_of_another_run", run=self._run, other=there.run)
            raise LakeError(
                f"another lake job (run {there.run}) has taken over this lake; run {self._run} stops before its next write", other_run=there.run
            )
        self._etag = seen.etag
        return there
