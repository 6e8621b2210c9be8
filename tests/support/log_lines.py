"""The lines of the log that a test causes, as objects."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cryptoviz.log import configure_logging


class LogLines:
    """Lines at DEBUG since the begin of the context."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    def of(self, event: str) -> list[dict[str, Any]]:
        """The lines of an event, in order."""
        lines = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]


@contextmanager
def log_lines() -> Iterator[LogLines]:
    """Capture the lines of all loggers."""
    stream = io.StringIO()
    configure_logging("DEBUG", stream, "json")
    try:
        yield LogLines(stream)
    finally:
        configure_logging("WARNING")
