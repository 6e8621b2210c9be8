"""Conversion between gap messages and dataclasses."""

from __future__ import annotations

from cryptoviz.control.v1 import gaps_pb2 as pb
from cryptoviz.gaps import Gap, GapScope
from cryptoviz.rpc.convert import member, moment_ms, stamp

__all__ = ["gap_from_proto", "gap_to_proto"]


def gap_to_proto(gap: Gap) -> pb.Gap:
    """Convert a gap to its message."""
    return pb.Gap(
        scope=pb.GapScope.Value(f"GAP_SCOPE_{gap.scope.name}"),
        subject=gap.subject,
        first_tick=stamp(gap.from_ms),
        last_tick=stamp(gap.to_ms),
        tick_ms=gap.tick_ms,
        missing=gap.missing,
        reason=gap.reason,
        found=stamp(gap.found_ms),
        state=pb.GapState.Value(f"GAP_STATE_{gap.state.name}"),
        filled=gap.filled,
        filled_by=gap.filled_by,
        filled_at=stamp(gap.filled_ms),
    )


def gap_from_proto(message: pb.Gap) -> Gap:
    """Convert a gap from its message; the state is derived from the ticks."""
    return Gap(
        scope=member(GapScope, pb.GapScope, message.scope),
        subject=message.subject,
        from_ms=message.first_tick.ToMilliseconds(),
        to_ms=message.last_tick.ToMilliseconds(),
        tick_ms=message.tick_ms,
        missing=message.missing,
        reason=message.reason,
        found_ms=message.found.ToMilliseconds(),
        filled=message.filled,
        filled_by=tuple(message.filled_by),
        filled_ms=moment_ms(message, "filled_at"),
    )
