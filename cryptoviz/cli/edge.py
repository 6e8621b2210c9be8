"""Operating-system edge cases of the command: arguments that are not text, output streams that are closed, full or of a narrow encoding."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from cryptoviz.errors import UsageError

__all__ = ["abandon_output", "output_error", "prepare_streams", "require_text"]

_ESCAPES = "cryptoviz-escapes"
_OUTPUT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EBADF)


def prepare_streams() -> None:
    """Make output never fail: characters outside the stream's encoding become JSON escapes; a closed stream is replaced by the null device."""
    codecs.register_error(_ESCAPES, _escape)
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 (open until the process ends)
        else:
            with contextlib.suppress(AttributeError):  # a stream of a test
                stream.reconfigure(errors=_ESCAPES)  # type: ignore[attr-defined]


def require_text(arguments: Sequence[str]) -> None:
    """Raises UsageError for an argument that is not valid text in this locale."""
    for number, argument in enumerate(arguments, 1):
        if any("\ud800" <= character <= "\udfff" for character in argument):
            shown = os.fsencode(argument)
            raise UsageError(f"argument {number} is not UTF-8: {shown!r}", setting=f"argument {number}")


def output_error(error: OSError) -> str:
    """Message for an OSError that no command handled."""
    if error.filename is None and error.errno in _OUTPUT_ERRORS:
        return f"cannot write the output: {error.strerror}"
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
    return f"{where}{error.strerror or error}"


def abandon_output() -> None:
    """Discard buffered output, so that the interpreter exits without a second error."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[n]:02x}{units[n + 1]:02x}" for n in range(0, len(units), 2)), error.end
