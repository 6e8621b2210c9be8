"""Times on the wire: UTC epoch milliseconds as protobuf's Timestamp and back; an unknown one is absent."""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["moment_ms", "stamp"]


_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999, as timestamp.proto says."""


def stamp(moment_ms: int | None) -> Timestamp | None:
    """The message of a time; None stays absent."""
    if moment_ms is None:
        return None
    made = Timestamp()
    # A value that came from outside may lie where protobuf knows no time; an answer with the nearest one is better than none.
    made.FromMilliseconds(min(max(moment_ms, _FIRST_MS), _LAST_MS))
    return made


def moment_ms(message: Any, field: str) -> int | None:
    """The time in a message's field, None where it is absent."""
    return getattr(message, field).ToMilliseconds() if message.HasField(field) else None
