"""The file that log lines are appended to. A full disk costs lines of the log, never the work that logs."""

from __future__ import annotations

import json
from typing import Protocol

from cryptoviz.log import LogFormat

__all__ = ["LogSink", "RawFile"]


class RawFile(Protocol):
    """A file without a buffer."""

    def write(self, data: bytes, /) -> int | None:
        """Write some of `data`; returns the number of bytes. Raises OSError."""

    def close(self) -> None:
        """Close the file."""


class LogSink:
    """Writes whole lines. Those that the disk refuses are dropped; the next line that it takes follows a line with their number.

    Without a buffer: a buffered file keeps what it could not write, raises again at each flush, and once more when it is closed.
    """

    def __init__(self, file: RawFile, form: LogFormat = "logfmt") -> None:
        self._file = file
        self._form = form
        self._line = ""
        self._lost = 0
        self._reason = ""
        self._torn = False

    def write(self, text: str) -> int:
        """Take a text; written once its line is complete. Never fails because of the file."""
        self._line += text
        if text.endswith("\n"):
            line, self._line = self._line, ""
            self._append(line)
        return len(text)

    def close(self) -> None:
        self._file.close()

    def _append(self, line: str) -> None:
        data = (("\n" if self._torn else "") + self._about() + line).encode(errors="backslashreplace")
        try:
            written = self._file.write(data) or 0
            if written < len(data):
                self._torn = True
                self._file.write(data[written:])
        except OSError as error:
            self._lost += 1
            self._reason = error.strerror or type(error).__name__
        except ValueError:  # closed, while another thread was about to write
            self._lost += 1
        else:
            self._lost, self._torn = 0, False

    def _about(self) -> str:
        if not self._lost:
            return ""
        if self._form == "json":
            return json.dumps({"event": "lines_not_written", "lines": self._lost, "reason": self._reason}) + "\n"
        return f'event=lines_not_written lines={self._lost} reason="{self._reason}"\n'
