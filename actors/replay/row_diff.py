"""Compares replayed rows with rows of the lake: equality by a hash over all fields, differences by field. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import pyarrow as pa

from cryptoviz.lake.schema import KAFKA_COLUMNS, PARTITION_BY, PRICES
from cryptoviz.records import UnifiedRecord

__all__ = ["COLUMNS", "Comparison", "Difference", "row_hash", "unified_row"]

_NOT_OURS = {*PARTITION_BY, *(column.name for column in KAFKA_COLUMNS)}
COLUMNS: tuple[str, ...] = tuple(name for name in PRICES.names if name not in _NOT_OURS)
"""Columns of the prices table that are fields of a unified record, without partition and Kafka columns."""
_FLOATS = frozenset(column.name for column in PRICES if pa.types.is_floating(column.type))
MAX_DIFFERENCES = 50
"""Maximum number of differences and reasons kept for display; the rest is only counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A differing field of a row. `recorded` is the value in the lake."""

    tick_ts: int
    asset_id: str
    field: str
    recorded: Any
    replayed: Any


@dataclass(slots=True)
class Comparison:
    """Result of a replay. Each row is counted once: equal, different, missing (only in the lake) or extra (only replayed).

    Attributes:
        ticks: replayed ticks.
        unrecorded_rows: rows of ticks that could not be replayed and were not compared.
        unrecorded_ticks: number of those ticks by reason.
        hashes: hashes over all compared rows of the lake and of the replay, in order of ticks and assets.
    """

    ticks: int = 0
    equal: int = 0
    different: int = 0
    missing: int = 0
    extra: int = 0
    unrecorded_rows: int = 0
    unrecorded_ticks: Counter[str] = field(default_factory=Counter)
    different_fields: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    _recorded: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))
    _replayed: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))

    @property
    def compared(self) -> int:
        """Number of rows of replayed ticks, in the lake, the replay, or both."""
        return self.equal + self.different + self.missing + self.extra

    @property
    def hashes(self) -> tuple[str, str]:
        """Hash over the rows of the lake, hash over the replayed rows."""
        return self._recorded.hexdigest(), self._replayed.hexdigest()

    def tick(self, recorded: Sequence[Mapping[str, Any]], replayed: Iterable[UnifiedRecord]) -> list[str]:
        """Compare one tick. Returns the state of each replayed row, in order: `equal`, `different` or `extra`.

        Args:
            recorded: rows of `COLUMNS` with times in epoch ms.
            replayed: the replayed records.
        """
        self.ticks += 1
        in_lake: dict[str, Mapping[str, Any]] = {}
        for row in recorded:
            if row["event_id"] in in_lake:
                self.missing += 1  # a duplicate row: a replay never makes it
            in_lake[row["event_id"]] = row
        made = [unified_row(record) for record in replayed]
        for row in sorted(recorded, key=_by_asset):
            self._recorded.update(row_hash(row))
        for row in sorted(made, key=_by_asset):
            self._replayed.update(row_hash(row))
        states: list[str] = []
        for row in made:
            was = in_lake.pop(row["event_id"], None)
            states.append("extra" if was is None else "equal" if row_hash(was) == row_hash(row) else "different")
            if was is not None and states[-1] == "different":
                self._add_differences(was, row)
        self.equal += states.count("equal")
        self.different += states.count("different")
        self.extra += states.count("extra")
        self.missing += len(in_lake)
        return states

    def not_replayed(self, tick_ts: int, rows: int, reason: str, text: str) -> None:
        """Count a tick that cannot be replayed. `reason` is a key for counting, `text` a message."""
        self.unrecorded_ticks[reason] += 1
        self.unrecorded_rows += rows
        if len(self.reasons) < MAX_DIFFERENCES:
            self.reasons.append(f"tick {tick_ts}: {text}")

    def _add_differences(self, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        for name in COLUMNS:
            if was[name] != now[name]:
                self.different_fields[name] += 1
                if len(self.differences) < MAX_DIFFERENCES:
                    self.differences.append(Difference(was["tick_ts"], was["asset_id"], name, was[name], now[name]))


def _by_asset(row: Mapping[str, Any]) -> str:
    return str(row["asset_id"])


def unified_row(record: UnifiedRecord) -> dict[str, Any]:
    """A record as a row. Integers in columns of doubles are converted to doubles."""
    values = {one.name: getattr(record, one.name) for one in fields(record)}
    return {name: float(value) if name in _FLOATS and value is not None else value for name, value in values.items()}


def row_hash(row: Mapping[str, Any]) -> bytes:
    """Hash of 16 bytes over names and values of all fields. Doubles are compared exactly."""
    text = "\x00".join(f"{name}={row[name]!r}" for name in COLUMNS)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
