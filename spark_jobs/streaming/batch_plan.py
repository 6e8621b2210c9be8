"""What the lake job is about to write, put down before it writes it: the ranges of offsets of a batch, in one object of the store.

The object is changed only by who saw its present state. A new run takes it over first, and from then on an overtaken one gets no further batch: its
next plan is refused before it has put a file. The files that it may still put are those of its last plan, which the new run makes again, byte for
byte, before anything else. So there is nothing above the tables' progress that had to be deleted by a guess (docs/adr/0007-batches-are-planned.md).

Safe is the lake without it too: what a commit may add is decided by the tables' logs alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from cryptoviz.errors import EngineUnavailable, LakeError
from cryptoviz.lake.conditional_object import Cell, CellChanged
from cryptoviz.log import get_logger

__all__ = ["BatchPlan", "Planned", "Ranges"]

_VERSION = 1
_TRIES = 5  # runs that start at the same time

Ranges = Mapping[tuple[str, int], tuple[int, int]]
"""(topic UUID, partition) to the offsets `[start, end)`."""

log = get_logger("lake")


@dataclass(frozen=True, slots=True)
class Planned:
    """The object's content.

    Attributes:
        run: who wrote it.
        number: which of its writes this was, so that no two contents are the same.
        ranges: of the last batch that was begun.
        avoid: by table, names of files above its progress that were or will be deleted: no batch may make a file of such a name again.
    """

    run: str = ""
    number: int = 0
    ranges: Ranges = field(default_factory=dict)
    avoid: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The object's bytes."""
        ranges = [[topic_id, partition, start, end] for (topic_id, partition), (start, end) in sorted(self.ranges.items())]
        avoid = {table: sorted(paths) for table, paths in sorted(self.avoid.items()) if paths}
        return json.dumps({"version": _VERSION, "run": self.run, "number": self.number, "ranges": ranges, "avoid": avoid}).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Planned:
        """Read what `to_json` wrote.

        Raises:
            LakeError: it says something else.
        """
        try:
            data = json.loads(content)
            ranges = {(str(topic_id), int(partition)): (int(start), int(end)) for topic_id, partition, start, end in data["ranges"]}
            avoid = {str(table): frozenset(map(str, paths)) for table, paths in data["avoid"].items()}
            version, planned = int(data["version"]), cls(str(data["run"]), int(data["number"]), ranges, avoid)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LakeError(f"the lake job's plan cannot be read ({error}): {content[:200]!r}; remove the object when no job is at work") from None
        if version != _VERSION:
            raise LakeError(f"the lake job's plan is of version {version}, this one reads {_VERSION}: update CryptoViz")
        return planned


class BatchPlan:
    """This run's hold on the object. For one thread at a time."""

    def __init__(self, cell: Cell, run: str) -> None:
        """Nothing is asked before `take`."""
        self._cell = cell
        self._run = run
        self._etag: str | None = None
        self._planned = Planned()

    @property
    def avoid(self) -> Mapping[str, frozenset[str]]:
        """See `Planned`."""
        return self._planned.avoid

    def take(self) -> Planned:
        """Take it over from an earlier run; returns what that one had planned last. Its next plan is refused.

        Raises:
            LakeError: it cannot be read, or others took it at the same time again and again.
            EngineUnavailable: the store does not answer.
        """
        for _ in range(_TRIES):
            seen = self._cell.read()
            before = Planned.from_json(seen.content) if seen else Planned()
            mine = replace(before, run=self._run, number=self._planned.number + 1)
            try:
                self._etag = self._cell.write(mine.to_json(), seen.etag if seen else None)
            except CellChanged:
                continue
            self._planned = mine
            return before
        raise LakeError(f"{_TRIES} other runs of the lake job took its plan over while this one asked for it")

    def write(self, ranges: Ranges) -> None:
        """Plan a batch. The same again when it is not known whether it was done is no fault.

        Raises:
            LakeError: another run has taken the plan over; nothing was planned.
            EngineUnavailable: the store does not answer; the plan may have been written.
        """
        self._change(replace(self._planned, ranges=dict(ranges)))

    def keep_off(self, names: Mapping[str, Iterable[str]]) -> None:
        """From now on these, by table, are the names to avoid. Raises as `write`."""
        avoid = {table: frozenset(paths) for table, paths in names.items()}
        if avoid != dict(self._planned.avoid):
            self._change(replace(self._planned, avoid=avoid))

    def _change(self, wanted: Planned) -> None:
        planned = replace(wanted, number=self._planned.number + 1)
        for _ in range(_TRIES):
            try:
                etag = self._cell.write(planned.to_json(), self._etag)
            except CellChanged:
                there = self._look_whose()
                if there is not None and (there.ranges, there.avoid) == (planned.ranges, planned.avoid):
                    self._planned = there
                    return
                continue
            self._etag, self._planned = etag, planned
            return
        raise EngineUnavailable(f"the plan of the lake job changed {_TRIES} times while run {self._run} wrote it", engine="object-store")

    def _look_whose(self) -> Planned | None:
        """After a refusal: an earlier write of ours may have been made without an answer."""
        seen = self._cell.read()
        if seen is None:  # somebody removed the object
            self._etag = None
            return None
        there = Planned.from_json(seen.content)
        if there.run != self._run:
            log.warning("the plan is another run's", run=self._run, other=there.run)
            raise LakeError(
                f"another lake job (run {there.run}) has taken over this lake; run {self._run} stops before it writes anything", other_run=there.run
            )
        self._etag = seen.etag
        return there
