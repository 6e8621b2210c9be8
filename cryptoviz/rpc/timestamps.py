"""Conversion between UTC epoch milliseconds and protobuf Timestamps; None is an absent field."""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["moment_ms", "stamp"]


_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999, as timestamp.proto says."""


def stamp(moment_ms: int | None) -> Timestamp | None:
    """Convert to a Timestamp; None stays None."""
    if moment_ms is None:
        return None
    made = Timestamp()
    # External values may be outside protobuf's range; they are clamped, so that the response can be sent.
    made.FromMilliseconds(min(max(moment_ms, _FIRST_MS), _LAST_MS))
    return made


def moment_ms(message: Any, field: str) -> int | None:
    """The time in a field of a message, None if absent."""
    return getattr(message, field).ToMilliseconds() if message.HasField(field) else None
