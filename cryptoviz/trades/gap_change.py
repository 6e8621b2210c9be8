"""`GapChange`: a state of a gap as the value in the topic `crypto-trade-gaps` and a row of the lake table `trade_gaps`.

A change is in the same Kafka transaction as the trades that caused it, so the topic states which ids are missing at any moment. The newest change
of a gap is its state. Times are UTC epoch microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from cryptoviz.errors import RecordError
from cryptoviz.trades.gap_tracker import OpenGap, TrackerState
from cryptoviz.trades.gaps import TradeGap, TradeGapState
from cryptoviz.trades.id_runs import IdRun

__all__ = ["GapChange", "restored_state"]


class GapChange(msgspec.Struct, frozen=True, kw_only=True):
    """One state of a gap. `runs`: ids that a refill still looks for, `first-last` with commas between; the other fields as in `TradeGap`."""

    change_id: str
    gap_id: str
    venue: str
    venue_symbol: str
    asset_id: str
    quote_currency: str
    first_id: int
    last_id: int
    state: str
    reason: str
    missing: int
    refilled: int
    late: int
    runs: str
    from_ts: int | None
    to_ts: int | None
    opened_ts: int
    closed_ts: int | None
    changed_ts: int

    @classmethod
    def of(cls, gap: TradeGap, runs: Iterable[IdRun], asset_id: str, quote_currency: str, changed_us: int) -> GapChange:
        """The state of a gap at `changed_us`; two changes of a gap have different times."""
        return cls(
            change_id=f"{gap.gap_id}-{changed_us:x}", gap_id=gap.gap_id, venue=gap.venue, venue_symbol=gap.venue_symbol, asset_id=asset_id,
            quote_currency=quote_currency, first_id=gap.first_id, last_id=gap.last_id, state=str(gap.state), reason=gap.reason, missing=gap.missing,
            refilled=gap.refilled, late=gap.late, runs=",".join(f"{run.first}-{run.last}" for run in runs), from_ts=gap.from_us, to_ts=gap.to_us,
            opened_ts=gap.opened_us, closed_ts=gap.closed_us, changed_ts=changed_us,
        )  # fmt: skip

    def to_json(self) -> bytes:
        """One line of UTF-8 JSON with a final newline."""
        return _ENCODER.encode(self) + b"\n"

    @classmethod
    def from_json(cls, value: bytes) -> GapChange:
        """Parse the output of `to_json`. Unknown fields are ignored.

        Raises:
            RecordError: not such a record.
        """
        try:
            return _DECODER.decode(value)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise RecordError(f"a change of a gap cannot be decoded: {error}", reason="invalid_json") from None

    @property
    def missing_runs(self) -> list[IdRun]:
        """The ids of `runs`.

        Raises:
            RecordError: not as `of` writes them.
        """
        try:
            return [IdRun(*map(int, run.split("-"))) for run in self.runs.split(",") if run]
        except (ValueError, TypeError):
            raise RecordError(f"runs of a gap are {self.runs[:60]!r}: valid is first-last, with commas between", reason="invalid_value") from None


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(GapChange)


def restored_state(venue: str, symbol: str, number: int | None, venue_us: int | None, changes: Sequence[GapChange]) -> TrackerState | None:
    """The state of a tracker from what is committed: the highest trade of the symbol, and the newest change of each of its gaps.

    None if nothing of the symbol is recorded.
    """
    gaps = [_open_gap(change) for change in sorted(changes, key=lambda change: change.first_id) if change.state == TradeGapState.OPEN]
    gaps = [gap for gap in gaps if gap.runs]
    high = max([number or 0, *(gap.last for gap in gaps)], default=0)
    if number is None and not gaps:
        return None
    first = min([high + 1, *(gap.first for gap in gaps)])
    changed_us = max((change.changed_ts for change in changes), default=0)
    return TrackerState(
        venue=venue, symbol=symbol, first=first, high=high, high_us=venue_us, seen_us=venue_us, fixed=True, gaps=gaps, changed_us=changed_us
    )


def _open_gap(change: GapChange) -> OpenGap:
    runs = [(run.first, run.last) for run in change.missing_runs]
    return OpenGap(
        first=change.first_id, last=change.last_id, runs=runs, opened_us=change.opened_ts, from_us=change.from_ts, to_us=change.to_ts,
        refilled=change.refilled, late=change.late, gone=change.missing - sum(last - first + 1 for first, last in runs), reason=change.reason,
    )  # fmt: skip
