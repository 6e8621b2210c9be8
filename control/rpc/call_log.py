"""One line a call, and a bound on the lines of calls that were refused: whoever may call can make those, so they must not fill a disk."""

from __future__ import annotations

import asyncio
from collections import Counter

from cryptoviz.log import get_logger

__all__ = ["CallLog"]

_WINDOW_S = 10.0
_LINES = 20
"""Refusals told one by one in a window: enough to see who a person's mistake came from. The others are told as one line, by code."""

_logger = get_logger("controller")


class CallLog:
    """For one event loop. Never says what was asked or answered."""

    def __init__(self, window_s: float = _WINDOW_S, lines: int = _LINES) -> None:
        self._window_s = window_s
        self._lines = lines
        self._told = 0
        self._untold: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def served(self, method: str, peer: str, took_ms: float, *, quiet: bool) -> None:
        """A call that ended well. `quiet`: a poll, of which the log would hold little else."""
        level = _logger.debug if quiet else _logger.info
        level("call", method=method, peer=peer, code="OK", ms=took_ms)

    def refused(self, code: str, peer: str, method: str = "", took_ms: float | None = None) -> None:
        """A call that ended otherwise."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._window_s, self._window_ends)
        if self._told >= self._lines:
            self._untold[code] += 1
            return
        self._told += 1
        more = {} if took_ms is None else {"method": method, "ms": took_ms}
        _logger.info("call", code=code, peer=peer, **more)

    def close(self) -> None:
        """Tell what is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._window_ends()

    def _window_ends(self) -> None:
        self._timer = None
        self._told = 0
        if self._untold:
            # No one's name: they come from many places, or from one that has been named above.
            _logger.warning("calls_refused", count=self._untold.total(), window_s=self._window_s, **dict(self._untold))
            self._untold.clear()
