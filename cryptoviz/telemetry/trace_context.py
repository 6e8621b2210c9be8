"""The context of a span as a W3C `traceparent` text, and values of its attributes."""

from __future__ import annotations

import re

__all__ = ["HEADER", "Value", "is_context"]

HEADER = "traceparent"
"""Name of the Kafka header."""
Value = str | int | float | bool
_CONTEXT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def is_context(text: str) -> bool:
    """Whether the text is a `traceparent` of version 00."""
    return _CONTEXT.fullmatch(text) is not None
