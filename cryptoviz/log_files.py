"""The log file of each component, beside stderr; bounded in size."""

from __future__ import annotations

import atexit
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from cryptoviz.home import mark_new
from cryptoviz.log import configure_logging
from cryptoviz.log_rotation import rotate
from cryptoviz.masking import hide
from cryptoviz.ownership import make_private
from cryptoviz.settings import Settings

__all__ = ["log_path", "log_to_file"]

_log_files = ExitStack()
"""Holds the one log file of this process."""
atexit.register(_log_files.close)
_LOOK_CHARACTERS = 64 * 1024
"""The file's size is checked once in so many."""


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
