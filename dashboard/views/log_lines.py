"""Lines of a log, newest last, coloured by their level. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.views.markup import element, text

__all__ = ["log_markup"]

_MAX_LINE = 1_000
_LEVELS = ("critical", "error", "warning")


def log_markup(lines: Sequence[str]) -> str:
    """The lines as text; a long line is cut."""
    return element("div", "".join(_line(line) for line in lines), "cv-log-lines", tabindex="0", role="log", aria_label="Log")


def _line(line: str) -> str:
    level = next((one for one in _LEVELS if f"level={one}" in line or f'"level":"{one}"' in line), "info")
    shown = line if len(line) <= _MAX_LINE else f"{line[:_MAX_LINE]}…"
    return element("div", text(shown), f"cv-log-{level}")
