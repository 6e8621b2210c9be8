"""The gap ledger: which expected ticks the lake does not have, of each asset and of each provider, and what became of them.

A gap is a run of ticks that follow each other on the grid, within one UTC day, missing for one reason. Its key is (`scope`, subject, `from_ms`),
hashed to `gap_id`. The ledger of a day is a pure function of the rows that are committed for it, so that finding it again changes nothing. How it is
found: `spark_jobs.gaps.ledger_update`; the table: `cryptoviz.lake.gap_ledger`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

__all__ = ["DROPPED", "HISTORY_PATHS", "NOT_RUNNING", "Gap", "GapScope", "GapState", "gap_id", "open_gaps"]

NOT_RUNNING = "not_running"
"""No sign of the pipeline at that tick. Other reasons are `dropped` and the words of `cryptoviz.records.FallbackReason`."""
DROPPED = "dropped"
"""Collected, and lost: Kafka was away longer than `collect.queue_ticks`, or refused the record."""
HISTORY_PATHS = ("/klines", "/OHLC", "/market_chart")
"""In the addresses of a backfill's raw exchanges: they tell nothing of the tick that they are filed under."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class GapScope(StrEnum):
    """Whose ticks are missing."""

    ASSET = "asset"
    PROVIDER = "provider"


class GapState(StrEnum):
    """How much of it a backfill has brought: nothing, some ticks, all."""

    OPEN = "open"
    PARTLY = "partly"
    FILLED = "filled"


@dataclass(frozen=True, slots=True)
class Gap:
    """One row of the ledger. Times are UTC epoch ms; `from_ms` and `to_ms` are its first and last tick, both missing.

    `subject` is the asset's id or the provider's name, as `scope` says.
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
        """The key, hashed."""
        return gap_id(self.scope, self.subject, self.from_ms)

    @property
    def state(self) -> GapState:
        """As the filled ticks say."""
        if not self.filled:
            return GapState.OPEN
        return GapState.FILLED if self.filled >= self.missing else GapState.PARTLY

    @property
    def ticks(self) -> range:
        """All of its ticks."""
        return range(self.from_ms, self.to_ms + 1, self.tick_ms)

    def to_row(self) -> dict[str, Any]:
        """As the table has it."""
        day = _time(self.from_ms).date()
        return {
            "gap_id": self.gap_id,
            "scope": str(self.scope),
            "asset_id": self.subject if self.scope is GapScope.ASSET else None,
            "provider": self.subject if self.scope is GapScope.PROVIDER else None,
            "from_ts": _time(self.from_ms),
            "to_ts": _time(self.to_ms),
            "tick_ms": self.tick_ms,
            "missing": self.missing,
            "reason": self.reason,
            "found_ts": _time(self.found_ms),
            "state": str(self.state),
            "filled": self.filled,
            "filled_by": ",".join(self.filled_by) or None,
            "filled_ts": None if self.filled_ms is None else _time(self.filled_ms),
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
            "from": _iso(self.from_ms),
            "to": _iso(self.to_ms),
            "tick_s": self.tick_ms / 1000,
            "missing": self.missing,
            "reason": self.reason,
            "found": _iso(self.found_ms),
            "state": str(self.state),
            "filled": self.filled,
            "filled_by": list(self.filled_by),
            "filled_at": None if self.filled_ms is None else _iso(self.filled_ms),
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Gap:
        """From a row of the table."""
        return cls(
            scope=GapScope(row["scope"]),
            subject=row["asset_id"] or row["provider"],
            from_ms=_ms(row["from_ts"]),
            to_ms=_ms(row["to_ts"]),
            tick_ms=row["tick_ms"],
            missing=row["missing"],
            reason=row["reason"],
            found_ms=_ms(row["found_ts"]),
            filled=row["filled"],
            filled_by=tuple((row["filled_by"] or "").split(",")) if row["filled_by"] else (),
            filled_ms=None if row["filled_ts"] is None else _ms(row["filled_ts"]),
        )


def gap_id(scope: GapScope, subject: str, from_ms: int) -> str:
    """32 hex digits over the key of a gap."""
    return hashlib.blake2b(f"{scope}\x00{subject}\x00{from_ms}".encode(), digest_size=16).hexdigest()


def open_gaps(gaps: Iterable[Gap], assets: Sequence[str] = (), start_ms: int | None = None, end_ms: int | None = None) -> list[Gap]:
    """Gaps of assets that are not filled and have a tick in `[start_ms, end_ms)`; of all assets when none is named."""
    return [
        gap
        for gap in gaps
        if gap.scope is GapScope.ASSET
        and gap.state is not GapState.FILLED
        and (not assets or gap.subject in assets)
        and (start_ms is None or gap.to_ms >= start_ms)
        and (end_ms is None or gap.from_ms < end_ms)
    ]


def _time(moment_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=moment_ms)


def _iso(moment_ms: int) -> str:
    return _time(moment_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
