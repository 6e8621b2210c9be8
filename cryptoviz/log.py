"""structlog configuration, once per process: key=value or JSON lines on stderr, UTC, secrets masked."""

from __future__ import annotations

import io
import logging
import math
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO, cast

from cryptoviz.local.hidden_modules import without_modules
from cryptoviz.masking import MASK, redact

if TYPE_CHECKING:
    import structlog  # imported with the first logger, since most commands log nothing

__all__ = ["MASK", "LogFormat", "configure_logging", "get_logger", "log_context", "print_masked", "stderr_or_nothing"]

LogFormat = Literal["logfmt", "json"]
"""`logfmt`: `key=value` for people. `json`: an object per line for log collectors, with the same keys."""

_SECRET_WORDS = ("secret", "password", "token", "api_key", "apikey", "authorization")


def _mask_secrets(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for key, value in event.items():
        event[key] = MASK if any(word in key.lower() for word in _SECRET_WORDS) else _masked(value)
    return event


def _masked(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value if not isinstance(value, float) or math.isfinite(value) else str(value)  # JSON has no NaN
    # Other values are converted to text when the line is written.
    try:
        return redact(value if isinstance(value, str) else str(value))
    except Exception:  # noqa: BLE001 (a line of the log must not fail, whatever another package's error does)
        return f"<{type(value).__qualname__}>"


def _escape_controls(_: Any, __: str, line: str) -> str:
    # The renderer escapes line feeds alone. Texts of providers must neither control a terminal nor look like a line of ours.
    return line if line.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in line)


class LineStream(Protocol):
    """What takes the lines: a text file is one."""

    def write(self, text: str, /) -> int:
        """Take a text."""

    def flush(self) -> None:
        """Pass on what was taken."""


class _Stderr:
    """See `stderr_or_nothing`."""

    def write(self, text: str, /) -> int:
        with stderr_or_nothing() as stderr:
            stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with stderr_or_nothing() as stderr:
            stderr.flush()


@contextmanager
def stderr_or_nothing() -> Iterator[TextIO]:
    """The standard error of the moment: tests and terminals replace and close it, and it may be missing. A full disk behind it costs lines only."""
    with suppress(OSError, ValueError):  # ValueError: closed
        yield sys.stderr or io.StringIO()


def configure_logging(level: str = "INFO", stream: LineStream | None = None, form: LogFormat = "logfmt") -> None:
    """Route structlog to `stream` (stderr by default) at `level`, a name of the logging module. Safe to call again.

    What Python itself writes to stderr is masked too: the traceback that ends a program or a thread, and warnings of libraries that use `logging`.
    """
    global _waiting
    _waiting = partial(_configure, logging.getLevelNamesMapping()[level.upper()], stream or _Stderr(), form)
    if "structlog" in sys.modules:
        _apply()
    # Hooks of another program, such as a debugger or a test runner, stay.
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = print_masked
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _print_masked_of_thread
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_MaskingFormatter())


def print_masked(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """As `sys.__excepthook__`, with secrets masked, also those in notes and in the errors that this one was raised from."""
    with stderr_or_nothing() as stderr:
        stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))


def _print_masked_of_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
        with stderr_or_nothing() as stderr:
            stderr.write(f"Exception in thread {ended.thread.name if ended.thread else '(unknown)'}:\n")
        print_masked(ended.exc_type, ended.exc_value, ended.exc_traceback)


class _MaskingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def get_logger(component: str) -> structlog.typing.FilteringBoundLogger:
    """A logger that adds `component=` to each line."""
    _find_structlog()
    import structlog

    _apply()
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(component=component)
    return logger


@contextmanager
def log_context(**values: object) -> Iterator[None]:
    """Add these values to each line of the log within the context, also in the tasks and `asyncio.to_thread` calls that are started within it.

    A line's own value of the same name takes precedence.
    """
    _find_structlog()
    import structlog

    with structlog.contextvars.bound_contextvars(**values):
        yield


def _find_structlog() -> None:
    """Import it without rich, which it would import for renderers that are not used here: 3 MB and 70 ms in each process."""
    if "structlog" not in sys.modules:
        with without_modules("rich"):
            import_module("structlog")


def _apply() -> None:
    global _waiting
    configure, _waiting = _waiting, None
    if configure is not None:
        configure()


def _configure(level: int, stream: LineStream, form: LogFormat) -> None:
    _find_structlog()
    import structlog

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _mask_secrets,
            *(
                [structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False), _escape_controls]
                if form == "logfmt"
                else [structlog.processors.JSONRenderer()]
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=cast("TextIO", stream)),
        cache_logger_on_first_use=False,
    )


_waiting: Callable[[], None] | None = partial(_configure, logging.INFO, _Stderr(), "logfmt")
"""The configuration to apply when structlog is imported; the first is that of a process which never calls `configure_logging`."""
