"""Which offsets occur, and how often: two bytes for each offset of the ranges that occur at all, whatever the order they come in."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Events", "OffsetCounts", "TableOffsets"]

_PAGE = 1 << 16
Counts = npt.NDArray[np.uint16]


class OffsetCounts:
    """Of one topic-partition."""

    def __init__(self) -> None:
        self._pages: dict[int, Counts] = {}

    def add(self, offsets: npt.NDArray[np.int64]) -> None:
        """Count these, in any order, repeats too."""
        numbers = offsets // _PAGE
        for number in np.unique(numbers):
            page = self._pages.setdefault(int(number), np.zeros(_PAGE, np.uint16))
            np.add.at(page, offsets[numbers == number] - number * _PAGE, 1)

    @property
    def distinct(self) -> int:
        """Offsets that occur."""
        return sum(int(np.count_nonzero(page)) for page in self._pages.values())

    def pages(self, other: OffsetCounts) -> Iterator[tuple[npt.NDArray[np.int64], Counts, Counts]]:
        """In order: offsets, how often they occur here, and in `other`."""
        empty = np.zeros(_PAGE, np.uint16)
        for number in sorted(self._pages.keys() | other._pages.keys()):
            offsets = np.arange(number * _PAGE, (number + 1) * _PAGE, dtype=np.int64)
            yield offsets, self._pages.get(number, empty), other._pages.get(number, empty)

    def plus(self, other: OffsetCounts) -> OffsetCounts:
        """Both together."""
        both = OffsetCounts()
        both._pages = {number: page.copy() for number, page in self._pages.items()}
        for number, page in other._pages.items():
            both._pages[number] = both._pages[number] + page if number in both._pages else page.copy()
        return both


class TableOffsets:
    """Of a table's rows, by topic id and partition, with the rows of each topic id."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self._counts: dict[tuple[str, int], OffsetCounts] = {}

    def of(self, topic_id: str, partition: int) -> OffsetCounts:
        """Empty when none occurs."""
        return self._counts.get((topic_id, partition), OffsetCounts())

    @property
    def distinct(self) -> int:
        """Offsets that occur, over all topics and partitions."""
        return sum(counts.distinct for counts in self._counts.values())

    def add(self, topic_ids: pa.Array, partitions: pa.Array, offsets: pa.Array) -> None:
        """Count a batch of rows."""
        for topic_id in pc.unique(topic_ids).to_pylist():
            of_topic = pc.equal(topic_ids, topic_id)
            for partition in pc.unique(partitions.filter(of_topic)).to_pylist():
                chosen = offsets.filter(pc.and_(of_topic, pc.equal(partitions, partition)))
                self.rows[topic_id] += len(chosen)
                self._counts.setdefault((topic_id, partition), OffsetCounts()).add(chosen.to_numpy(zero_copy_only=False).astype(np.int64))


class Events:
    """How often event ids repeat. Keeps 8 bytes of hash for each: among ten million different ones, two are the same once in 400 000 runs."""

    def __init__(self) -> None:
        self._hashes = array("q")

    def add(self, ids: Iterable[Any]) -> None:
        """Count these; None is none."""
        self._hashes.extend(hash(one) for one in ids if one is not None)

    @property
    def repeated(self) -> int:
        """Surplus appearances."""
        return len(self._hashes) - len(np.unique(np.frombuffer(self._hashes, np.int64))) if self._hashes else 0
