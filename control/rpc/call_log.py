"""Access log and metrics: every call ends here. One line per call, with a limit on lines of refused calls, so that callers cannot fill the disk."""

from __future__ import annotations

import asyncio
from collections import Counter

from control.rpc.call_metrics import CallMetrics, known_name
from cryptoviz.log import get_logger

__all__ = ["CallLog"]

_WINDOW_S = 10.0
_LINES = 20
"""Refusals logged individually per window, enough to find the source of a mistake. The others are summarized in one line, by code."""

_logger = get_logger("controller")


class CallLog:
    """For one event loop. Never logs request or response contents."""

    def __init__(self, window_s: float = _WINDOW_S, lines: int = _LINES) -> None:
        self._window_s = window_s
        self._lines = lines
        self.metrics = CallMetrics()
        self._told = 0
        self._unlogged: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def served(self, method: str, peer: str, caller: str, took_s: float, *, quiet: bool) -> None:
        """Log a successful call. `caller`: name of its token; `quiet`: a routine poll, logged at DEBUG."""
        self.metrics.add(method, "OK", took_s)
        level = _logger.debug if quiet else _logger.info
        level("call", method=method, peer=peer, caller=caller, code="OK", ms=_ms(took_s))

    def failed(self, code: str, method: str, peer: str, caller: str, took_s: float) -> None:
        """Log a call of a valid token that ended with another code."""
        self.metrics.add(method, code, took_s)
        self._refused(code, peer=peer, caller=caller, method=method, ms=_ms(took_s))

    def refused(self, code: str, method: str, peer: str, caller: str | None = None) -> None:
        """Log a call that was refused for its token, before it was read. Its method is counted, but not logged."""
        self.metrics.add(method, code)
        self._refused(code, peer=peer, **({} if caller is None else {"caller": caller, "method": known_name(method)}))

    def _refused(self, code: str, **facts: object) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._window_s, self._window_ends)
        if self._told >= self._lines:
            self._unlogged[code] += 1
            return
        self._told += 1
        _logger.info("call", code=code, **facts)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._window_ends()

    def _window_ends(self) -> None:
        self._timer = None
        self._told = 0
        if self._unlogged:
            # Without a peer: the calls have many peers, or a single peer, logged above.
            _logger.warning("calls_refused", count=self._unlogged.total(), window_s=self._window_s, **dict(self._unlogged))
            self._unlogged.clear()


def _ms(took_s: float) -> float:
    return round(took_s * 1000, 1)
