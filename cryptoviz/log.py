"""structlog, set up once per process: key=value lines on stderr, UTC, secrets masked."""

from __future__ import annotations

import atexit
import logging
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO, cast

import structlog

from cryptoviz.home import mark_new
from cryptoviz.log_rotation import rotate
from cryptoviz.masking import MASK, hide, redact
from cryptoviz.ownership import make_private
from cryptoviz.settings import Settings

__all__ = ["MASK", "configure_logging", "get_logger", "log_path", "log_to_file"]

_log_files = ExitStack()
"""Holds the one log file of this process."""
atexit.register(_log_files.close)
_LOOK_CHARACTERS = 64 * 1024
"""The size of the file is looked at once in so many."""
_SECRET_WORDS = ("secret", "password", "token", "api_key", "apikey", "authorization")


def _mask_secrets(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for key, value in event.items():
        event[key] = MASK if any(word in key.lower() for word in _SECRET_WORDS) else _masked(value)
    return event


def _masked(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    # What is no text becomes one anyway when the line is written.
    return redact(value if isinstance(value, str) else str(value))


def configure_logging(level: str = "INFO", stream: _Tee | TextIO | None = None) -> None:
    """Route structlog to `stream` (stderr by default) at `level`, a name of the logging module. Safe to call again."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _mask_secrets,
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
    """Also append this process's lines to the component's log file, which `cryptoviz logs` and TailLogs read; hide the settings' secrets in them."""
    hide(settings.secrets)
    mark_new(settings.home)
    make_private(settings.log_dir)
    previous = _log_files.pop_all()
    handle = _log_files.enter_context(log_path(settings, component).open("a", encoding="utf-8", buffering=1))
    configure_logging(settings.log_level, _Tee(handle, log_path(settings, component)))
    previous.close()


def log_path(settings: Settings, component: str) -> Path:
    """The log file of a component. `component` must be a known name: it becomes part of a path."""
    return settings.log_dir / f"{component.replace('/', '-')}.log"


class _Tee:
    """Writes to stderr, whatever that is at the moment, and to a file, which is bounded in size."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._since_look = 0

    def write(self, text: str) -> int:
        sys.stderr.write(text)
        self._since_look += len(text)
        if self._since_look >= _LOOK_CHARACTERS:
            self._since_look = 0
            rotate(self._path)
        return self._file.write(text)

    def flush(self) -> None:
        sys.stderr.flush()
        self._file.flush()
