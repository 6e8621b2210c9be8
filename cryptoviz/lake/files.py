"""Which data files a table has, from its Delta log, kept between queries and pruned by day."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from cryptoviz.errors import EngineUnavailable
from cryptoviz.lake.objects import TableAddress

__all__ = ["DataFile", "FileIndex"]

# Queries that follow each other within this time see the same version: a page asks several at once.
_FRESH_S = 0.25


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of the present version; `path` is relative to the table, `day` its UTC day."""

    path: str
    size: int
    rows: int
    day: date


class FileIndex:
    """The files of one table's newest version. Thread-safe. A table that does not exist yet has none."""

    def __init__(self, address: TableAddress, options: Mapping[str, str], monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._address = address
        self._options = dict(options)
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._table: DeltaTable | None = None
        self._looked_s = float("-inf")
        self._by_day: dict[date, tuple[DataFile, ...]] = {}
        self._version = -1

    def by_day(self) -> tuple[int, dict[date, tuple[DataFile, ...]]]:
        """The table's version (-1 without a table) and its files by UTC day.

        Raises:
            EngineUnavailable: the object store does not answer.
        """
        with self._lock:
            if self._monotonic_s() - self._looked_s >= _FRESH_S:
                try:
                    self._refresh()
                except TableNotFoundError:
                    self._table, self._by_day, self._version = None, {}, -1
                except (DeltaError, OSError) as error:
                    raise EngineUnavailable(f"the object store did not open {self._address.uri}: {error}", engine="object-store") from error
                self._looked_s = self._monotonic_s()
            return self._version, self._by_day

    def _refresh(self) -> None:
        if self._table is None:
            self._table = DeltaTable(self._address.uri, storage_options=self._options)
        else:
            self._table.update_incremental()
        version = self._table.version()
        if version == self._version:
            return
        actions = pa.table(self._table.get_add_actions(flatten=True))
        names = ("path", "size_bytes", "num_records", "partition.year", "partition.month", "partition.day")
        found: dict[date, list[DataFile]] = {}
        for path, size, rows, year, month, day in zip(*(actions.column(name).to_pylist() for name in names), strict=True):
            when = date(year, month, day)
            found.setdefault(when, []).append(DataFile(path, size, rows or 0, when))
        self._by_day = {when: tuple(files) for when, files in sorted(found.items())}
        self._version = version
