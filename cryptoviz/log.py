"""structlog, set up once per process: key=value lines on stderr, UTC, secrets masked."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

__all__ = ["MASK", "configure_logging", "get_logger"]

MASK = "********"
_SECRET_WORDS = ("secret", "password", "token", "api_key", "apikey", "authorization")


def _mask_secrets(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for key in event:
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = MASK
    return event


def configure_logging(level: str = "INFO") -> None:
    """Route structlog to stderr at `level` (a name of the logging module). Safe to call again."""
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
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def get_logger(component: str) -> structlog.typing.FilteringBoundLogger:
    """A logger that says `component=` on each line."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(component=component)
    return logger
