"""Times on the wire: UTC epoch milliseconds as protobuf's Timestamp and back; an unknown one is absent."""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["moment_ms", "stamp"]


def stamp(moment_ms: int | None) -> Timestamp | None:
    """The message of a time; None stays absent."""
    if moment_ms is None:
        return None
    made = Timestamp()
    made.FromMilliseconds(moment_ms)
    return made


def moment_ms(message: Any, field: str) -> int | None:
    """The time in a message's field, None where it is absent."""
    return getattr(message, field).ToMilliseconds() if message.HasField(field) else None
