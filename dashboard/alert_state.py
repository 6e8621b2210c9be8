"""What the pages show of alerts: written by the alerts' threads, read by each session on its own loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from cryptoviz.alerts.evaluate import Firing, RuleState
from cryptoviz.alerts.rule import Rule
from dashboard.shared_state import CONNECTING, Wakeups

__all__ = ["AlertState", "AlertView"]

_NOTICES = 50


@dataclass(frozen=True, slots=True)
class AlertView:
    """Rules with their states and last values, the last firings (newest first), and why they may be out of date."""

    rules: tuple[Rule, ...] = ()
    states: Mapping[str, RuleState] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    history: tuple[Firing, ...] = ()
    problem: str | None = CONNECTING
    evaluates: bool = True
    """False: another dashboard of the pipeline evaluates the rules."""


class AlertState:
    """Thread-safe. Firings and changes of states wake sessions."""

    def __init__(self, wakeups: Wakeups) -> None:
        self._wakeups = wakeups
        self._lock = threading.Lock()
        self._view = AlertView()
        self._fired: deque[Firing] = deque(maxlen=_NOTICES)
        self._count = 0

    def view(self) -> AlertView:
        with self._lock:
            return self._view

    def set_view(self, view: AlertView) -> None:
        """Values alone wake nobody: an age changes each second."""
        with self._lock:
            changed = replace(view, values=self._view.values) != self._view
            self._view = view
        if changed:
            self._wakeups.wake()

    def notify(self, firings: Iterable[Firing]) -> None:
        """Show these firings as notices on all open pages."""
        with self._lock:
            before = self._count
            for firing in firings:
                self._fired.append(firing)
                self._count += 1
        if self._count != before:
            self._wakeups.wake()

    @property
    def count(self) -> int:
        """Number of firings since the start of the process."""
        with self._lock:
            return self._count

    def since(self, count: int) -> tuple[int, list[Firing]]:
        """The present count, and the kept firings after that number of them."""
        with self._lock:
            return self._count, list(islice(self._fired, max(0, len(self._fired) - (self._count - count)), None))
