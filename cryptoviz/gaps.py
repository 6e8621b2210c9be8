"""Gap ledger: expected ticks that are missing in the lake, by asset and by provider, and how far backfills have filled them.

A gap is a run of consecutive ticks of the grid, within one UTC day, missing for one reason. Its key is (`scope`, subject, `from_ms`), hashed to
`gap_id`. The ledger of a day is a pure function of the committed rows, so updating it again changes nothing. Detection:
`spark_jobs.gaps.ledger_update`; table: `cryptoviz.lake.gap_ledger`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cryptoviz.times import epoch_ms, iso_ms, utc

__all__ = ["DROPPED", "NOT_RUNNING", "SETTLE_TICKS", "Gap", "GapScope", "GapState", "gap_id", "open_gaps"]

NOT_RUNNING = "not_running"
"""The pipeline left no record at that tick. Other reasons are `dropped` and the values of `cryptoviz.records.FallbackReason`."""
DROPPED = "dropped"
"""Collected, then lost: Kafka was unavailable longer than `collect.queue_ticks`, or refused the record."""
SETTLE_TICKS = 3
"""Newer ticks may still be in collection: they are neither gaps nor filled."""


class GapScope(StrEnum):
    """Kind of subject whose ticks are missing."""

    ASSET = "asset"
    PROVIDER = "provider"


class GapState(StrEnum):
    """How much of a gap backfills have filled: no tick, some, all."""

    OPEN = "open"
    PARTLY = "partly"
    FILLED = "filled"


@dataclass(frozen=True, slots=True)
class Gap:
    """A row of the gap ledger. Times are UTC epoch ms; `from_ms` and `to_ms`: first and last missing tick, inclusive.

    `subject`: asset id or provider name, depending on `scope`.
    """

    scope: GapScope
    subject: str
    from_ms: int
    to_ms: int
    tick_ms: int
    missing: int
    reason: str
    found_ms: int
    filled: int = 0
    filled_by: tuple[str, ...] = ()
    filled_ms: int | None = None

    @property
    def gap_id(self) -> str:
        return gap_id(self.scope, self.subject, self.from_ms)

    @property
    def state(self) -> GapState:
        if not self.filled:
            return GapState.OPEN
        return GapState.FILLED if self.filled >= self.missing else GapState.PARTLY

    @property
    def ticks(self) -> range:
        return range(self.from_ms, self.to_ms + 1, self.tick_ms)

    def to_row(self) -> dict[str, Any]:
        day = utc(self.from_ms).date()
        return {
            "gap_id": self.gap_id,
            "scope": str(self.scope),
            "asset_id": self.subject if self.scope is GapScope.ASSET else None,
            "provider": self.subject if self.scope is GapScope.PROVIDER else None,
            "from_ts": utc(self.from_ms),
            "to_ts": utc(self.to_ms),
            "tick_ms": self.tick_ms,
            "missing": self.missing,
            "reason": self.reason,
            "found_ts": utc(self.found_ms),
            "state": str(self.state),
            "filled": self.filled,
            "filled_by": ",".join(self.filled_by) or None,
            "filled_ts": None if self.filled_ms is None else utc(self.filled_ms),
            "year": day.year,
            "month": day.month,
            "day": day.day,
        }

    def to_json_dict(self) -> dict[str, Any]:
        """For `--json`: times as ISO 8601 in UTC."""
        return {
            "gap_id": self.gap_id,
            "scope": str(self.scope),
            str(self.scope): self.subject,
            "from": iso_ms(self.from_ms),
            "to": iso_ms(self.to_ms),
            "tick_s": self.tick_ms / 1000,
            "missing": self.missing,
            "reason": self.reason,
            "found": iso_ms(self.found_ms),
            "state": str(self.state),
            "filled": self.filled,
            "filled_by": list(self.filled_by),
            "filled_at": None if self.filled_ms is None else iso_ms(self.filled_ms),
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Gap:
        return cls(
            scope=GapScope(row["scope"]),
            subject=row["asset_id"] or row["provider"],
            from_ms=epoch_ms(row["from_ts"]),
            to_ms=epoch_ms(row["to_ts"]),
            tick_ms=row["tick_ms"],
            missing=row["missing"],
            reason=row["reason"],
            found_ms=epoch_ms(row["found_ts"]),
            filled=row["filled"],
            filled_by=tuple((row["filled_by"] or "").split(",")) if row["filled_by"] else (),
            filled_ms=None if row["filled_ts"] is None else epoch_ms(row["filled_ts"]),
        )


def gap_id(scope: GapScope, subject: str, from_ms: int) -> str:
    """Hash of a gap's key, 32 hex digits."""
    return hashlib.blake2b(f"{scope}\x00{subject}\x00{from_ms}".encode(), digest_size=16).hexdigest()


def open_gaps(gaps: Iterable[Gap], assets: Sequence[str] = (), start_ms: int | None = None, end_ms: int | None = None) -> list[Gap]:
    """Unfilled gaps of assets with a tick in `[start_ms, end_ms)`; empty `assets` means all."""
    return [
        gap
        for gap in gaps
        if gap.scope is GapScope.ASSET
        and gap.state is not GapState.FILLED
        and (not assets or gap.subject in assets)
        and (start_ms is None or gap.to_ms >= start_ms)
        and (end_ms is None or gap.from_ms < end_ms)
    ]
