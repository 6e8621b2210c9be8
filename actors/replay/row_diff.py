"""Rows made again against the rows of the lake: equal by a hash over all fields, else told field by field. Pure."""

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
"""The fields of a unified record in the prices table: what a row is, without where it lies."""
_FLOATS = frozenset(column.name for column in PRICES if pa.types.is_floating(column.type))
TOLD_DIFFERENCES = 50
"""Differences and reasons that are kept to be shown; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of one row. `recorded` is what the lake has."""

    tick_ts: int
    asset_id: str
    field: str
    recorded: Any
    replayed: Any


@dataclass(slots=True)
class Comparison:
    """What a replay found. Rows are counted once each: equal, different, missing (only in the lake) or extra (only replayed).

    Attributes:
        ticks: ticks made again.
        unrecorded_rows: rows of ticks that could not be made again, which were not compared.
        unrecorded_ticks: those ticks by reason.
        hashes: a hash over the hashes of all compared rows, of the lake and made again, in the order of ticks and assets.
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
        """Rows that a tick made again has or should have."""
        return self.equal + self.different + self.missing + self.extra

    @property
    def is_exact(self) -> bool:
        """Every row of every tick made again is the row of the lake."""
        return not self.different and not self.missing and not self.extra

    @property
    def hashes(self) -> tuple[str, str]:
        """Of the lake's rows and of those made again."""
        return self._recorded.hexdigest(), self._replayed.hexdigest()

    def tick(self, recorded: Sequence[Mapping[str, Any]], replayed: Iterable[UnifiedRecord]) -> list[str]:
        """Compare one tick; what became of each replayed row, in their order: `equal`, `different` or `extra`.

        Args:
            recorded: rows of `COLUMNS` with times in epoch ms.
            replayed: the records made again.
        """
        self.ticks += 1
        in_lake: dict[str, Mapping[str, Any]] = {}
        for row in recorded:
            if row["event_id"] in in_lake:
                self.missing += 1  # the same row twice: the second one was not made again
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
                self._tell(was, row)
        self.equal += states.count("equal")
        self.different += states.count("different")
        self.extra += states.count("extra")
        self.missing += len(in_lake)
        return states

    def not_replayed(self, tick_ts: int, rows: int, reason: str, text: str) -> None:
        """A tick that cannot be made again. `reason` is one word, `text` for a person."""
        self.unrecorded_ticks[reason] += 1
        self.unrecorded_rows += rows
        if len(self.reasons) < TOLD_DIFFERENCES:
            self.reasons.append(f"tick {tick_ts}: {text}")

    def _tell(self, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        for name in COLUMNS:
            if was[name] != now[name]:
                self.different_fields[name] += 1
                if len(self.differences) < TOLD_DIFFERENCES:
                    self.differences.append(Difference(was["tick_ts"], was["asset_id"], name, was[name], now[name]))


def _by_asset(row: Mapping[str, Any]) -> str:
    return str(row["asset_id"])


def unified_row(record: UnifiedRecord) -> dict[str, Any]:
    """A record as a row: whole numbers in columns of doubles are doubles."""
    values = {one.name: getattr(record, one.name) for one in fields(record)}
    return {name: float(value) if name in _FLOATS and value is not None else value for name, value in values.items()}


def row_hash(row: Mapping[str, Any]) -> bytes:
    """16 bytes over all fields of a row, with their names. Doubles count by all their bits."""
    text = "\x00".join(f"{name}={row[name]!r}" for name in COLUMNS)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
