"""The log file of each component, beside stderr; bounded in size."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from contextvars import ContextVar
from pathlib import Path

from cryptoviz.local.home import mark_new
from cryptoviz.local.ownership import make_private
from cryptoviz.log import configure_logging, stderr_or_nothing
from cryptoviz.masking import hide
from cryptoviz.settings import Settings
from cryptoviz.telemetry.log_rotation import rotate
from cryptoviz.telemetry.log_sink import LogSink

__all__ = ["log_path", "log_to_file", "logging_as"]

_log_files = ExitStack()
"""The log files of this process: one, or one for each component that shares it."""
_tees: dict[str, _Tee] = {}
_component: ContextVar[str] = ContextVar("component", default="")
atexit.register(_log_files.close)
_CHECK_CHARACTERS = 64 * 1024
"""The file's size is checked once in so many."""


def log_to_file(settings: Settings, component: str) -> None:
    """Also append log lines to the component's log file, which `cryptoviz logs` and TailLogs read, and mask the secrets of the settings."""
    hide(settings.secrets)
    mark_new(settings.home)
    make_private(settings.log_dir)
    shared = _component.get() == component
    if shared and component in _tees:
        return
    previous = ExitStack() if shared else _log_files.pop_all()
    sink = _log_files.enter_context(closing(LogSink(log_path(settings, component).open("ab", buffering=0), settings.log_format)))
    _tees[component] = _Tee(sink, log_path(settings, component))
    # Never empty meanwhile: other threads log.
    for other in [] if shared else [name for name in _tees if name != component]:
        del _tees[other]
    configure_logging(settings.log_level, _Router(), settings.log_format)
    previous.close()


@contextmanager
def logging_as(component: str) -> Iterator[None]:
    """Lines of the log go to this component's file, in a process of several. Holds in tasks and `to_thread` calls that are started within it."""
    token = _component.set(component)
    try:
        yield
    finally:
        _component.reset(token)


def log_path(settings: Settings, component: str) -> Path:
    """The log file of a component. `component` must be a known name, because it becomes part of a path."""
    return settings.log_dir / f"{component.replace('/', '-', 1).replace('/', '.')}.log"


class _Router:
    """Writes to the file of the context's component; without one, to the newest."""

    def write(self, text: str) -> int:
        return self._tee().write(text)

    def flush(self) -> None:
        self._tee().flush()

    @staticmethod
    def _tee() -> _Tee:
        return _tees.get(_component.get()) or next(reversed(_tees.values()))


class _Tee:
    """Writes to the present `sys.stderr` and to a file of bounded size."""

    def __init__(self, sink: LogSink, path: Path) -> None:
        self._sink = sink
        self._path = path
        self._unchecked = 0

    def write(self, text: str) -> int:
        with stderr_or_nothing() as stderr:  # Ray writes it to a file, whose disk may be full
            stderr.write(text)
        self._unchecked += len(text)
        if self._unchecked >= _CHECK_CHARACTERS:
            self._unchecked = 0
            rotate(self._path)
        return self._sink.write(text)

    def flush(self) -> None:
        with stderr_or_nothing() as stderr:
            stderr.flush()
