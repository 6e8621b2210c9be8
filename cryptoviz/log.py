"""structlog, set up once per process: key=value lines on stderr, UTC, secrets masked."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any, TextIO, cast

import structlog

from cryptoviz.settings import Settings

__all__ = ["MASK", "configure_logging", "get_logger", "log_path", "log_to_file"]

MASK = "********"
_SECRET_WORDS = ("secret", "password", "token", "api_key", "apikey", "authorization")


def _mask_secrets(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for key in event:
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = MASK
    return event


def configure_logging(level: str = "INFO", stream: _Tee | TextIO | None = None) -> None:
    """Route structlog to `stream` (stderr by default) at `level`, a name of the logging module. Safe to call again."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _mask_secrets,
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=cast("TextIO", stream or sys.stderr)),
        cache_logger_on_first_use=False,
    )


def get_logger(component: str) -> structlog.typing.FilteringBoundLogger:
    """A logger that says `component=` on each line."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(component=component)
    return logger


def log_to_file(settings: Settings, component: str) -> None:
    """Also append this process's lines to the component's log file, which `cryptoviz logs` and TailLogs read."""
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    handle = log_path(settings, component).open("a", encoding="utf-8", buffering=1)
    configure_logging(settings.log_level, _Tee(sys.stderr, handle))


def log_path(settings: Settings, component: str) -> Path:
    """The log file of a component. `component` must be a known name: it becomes part of a path."""
    return settings.log_dir / f"{component.replace('/', '-')}.log"


class _Tee:
    """A text stream that writes to two."""

    def __init__(self, first: TextIO, second: TextIO) -> None:
        self._streams = (first, second)

    def write(self, text: str) -> int:
        for stream in self._streams:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self._streams:
            stream.flush()
