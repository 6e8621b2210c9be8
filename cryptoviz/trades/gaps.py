"""`TradeGap`: a run of trade numbers of a symbol that did not arrive, or a silence: a row of the lake table `trade_gaps`."""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec

__all__ = ["PermanentReason", "TradeGap", "TradeGapState", "trade_gap_id"]


class TradeGapState(StrEnum):
    """What became of a run of ids."""

    OPEN = "open"
    """Trades are missing, and a refill may still bring them."""
    REFILLED = "refilled"
    """All of its trades are there: the ids meet."""
    HALT = "halt"
    """No trade is missing: the ids on both sides of a silence meet. `first_id` and `last_id` are the trades around it."""
    PERMANENT = "permanent"
    """The venue no longer gives some of its trades; see `reason`."""


class PermanentReason(StrEnum):
    """Why trades will never arrive."""

    NOT_AT_VENUE = "not_at_venue"
    """The venue's answer has trades before and after the id, and not the id."""
    TOO_OLD = "too_old"
    """The venue's history no longer reaches that far back."""
    INVALID = "invalid"
    """The venue's row has no valid price, size or side."""
    NO_TIME = "no_time"
    """The venue finds trades by time only, and the time of the gap is unknown."""


class TradeGap(msgspec.Struct, frozen=True, kw_only=True):
    """One gap or halt at one moment. Its identity is (`venue`, `venue_symbol`, `first_id`), hashed to `gap_id`; later versions replace earlier ones.

    Attributes:
        first_id, last_id: the missing trade numbers, both inclusive, as found. `last_id` grows while arriving trades are left to the refill.
        missing: how many of them are still missing: open, or permanently so.
        refilled, late: how many a refill brought; how many arrived by stream after all.
        reason: `PermanentReason`, if the state is permanent; otherwise empty.
        from_us, to_us: venue times of the trades around it (UTC epoch us); None if unknown. Candles in between are incomplete while it is open.
        opened_us: when it was found, by our clock, UTC epoch us.
        closed_us: when it was no longer open.
    """

    gap_id: str
    venue: str
    venue_symbol: str
    first_id: int
    last_id: int
    state: str
    missing: int
    refilled: int = 0
    late: int = 0
    reason: str = ""
    from_us: int | None = None
    to_us: int | None = None
    opened_us: int
    closed_us: int | None = None


def trade_gap_id(venue: str, venue_symbol: str, first_id: int, kind: str = "gap") -> str:
    """Hash of the identity of a gap, or of a halt (`kind`) after the trade `first_id`; 32 hex digits."""
    return hashlib.blake2b(f"{venue}\x00{venue_symbol}\x00{first_id}\x00{kind}".encode(), digest_size=16).hexdigest()
