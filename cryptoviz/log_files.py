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
"""The log file of this process."""
atexit.register(_log_files.close)
_CHECK_CHARACTERS = 64 * 1024
"""The file's size is checked once in so many."""


def log_to_file(settings: Settings, component: str) -> None:
    """Also append log lines to the component's log file, which `cryptoviz logs` and TailLogs read, and mask the secrets of the settings."""
    hide(settings.secrets)
    mark_new(settings.home)
    make_private(settings.log_dir)
    previous = _log_files.pop_all()
    handle = _log_files.enter_context(log_path(settings, component).open("a", encoding="utf-8", buffering=1))
    configure_logging(settings.log_level, _Tee(handle, log_path(settings, component)))
    previous.close()


def log_path(settings: Settings, component: str) -> Path:
    """The log file of a component. `component` must be a known name, because it becomes part of a path."""
    return settings.log_dir / f"{component.replace('/', '-')}.log"


class _Tee:
    """Writes to the present `sys.stderr` and to a file of bounded size."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._unchecked = 0

    def write(self, text: str) -> int:
        sys.stderr.write(text)
        self._unchecked += len(text)
        if self._unchecked >= _CHECK_CHARACTERS:
            self._unchecked = 0
            rotate(self._path)
        return self._file.write(text)

    def flush(self) -> None:
        sys.stderr.flush()
        self._file.flush()
