"""Progress display of long work: bars on a terminal, plain lines elsewhere, nothing in tests."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

__all__ = ["BarProgress", "LineProgress", "ProgressReporter", "progress_for"]

# Frequent enough for a log.
_LINE_EVERY_S = 5.0


class ProgressReporter(Protocol):
    """Receives progress, from several threads. `what` names a task; `unit` is `MB` (amounts in bytes) or the name of the counted items."""

    def begin(self, what: str, total: int, unit: str = "MB") -> None:
        """A task of `total` bytes or steps begins."""

    def advance(self, what: str, amount: int) -> None:
        """`amount` more is done; negative when a download starts over."""

    def end(self, what: str) -> None:
        """The task is done."""

    def say(self, text: str) -> None:
        """Show a line of text."""


class LineProgress:
    """Prints a line at the begin, at the end, and every 5 s in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._work: dict[str, tuple[int, int, str, float]] = {}

    def begin(self, what: str, total: int, unit: str = "MB") -> None:
        with self._lock:
            self._work[what] = (0, total, unit, time.monotonic())
        self.say(f"{what}: {_amount(total, unit)} {unit}")

    def advance(self, what: str, amount: int) -> None:
        with self._lock:
            done, total, unit, last = self._work[what]
            done = min(total, done + amount)  # estimated totals may be too small
            due = time.monotonic() - last >= _LINE_EVERY_S
            self._work[what] = (done, total, unit, time.monotonic() if due else last)
        if due:
            self.say(f"{what}: {_amount(done, unit)} of {_amount(total, unit)} {unit}")

    def end(self, what: str) -> None:
        self.say(f"{what}: done")

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class BarProgress:
    """Shows bars on a terminal. A context manager, which restores the terminal."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[shown]}"), TimeRemainingColumn())
        self._bars = Progress(*columns, console=console)
        self._tasks: dict[str, tuple[TaskID, str]] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def begin(self, what: str, total: int, unit: str = "MB") -> None:
        self._tasks[what] = (self._bars.add_task(what, total=total, shown=""), unit)

    def advance(self, what: str, amount: int) -> None:
        task, unit = self._tasks[what]
        self._bars.advance(task, amount)
        now = next(each for each in self._bars.tasks if each.id == task)
        self._bars.update(task, shown=f"{_amount(int(now.completed), unit)}/{_amount(int(now.total or 0), unit)} {unit}")

    def end(self, what: str) -> None:
        task, _ = self._tasks[what]
        now = next(each for each in self._bars.tasks if each.id == task)
        self._bars.update(task, completed=now.total)

    def say(self, text: str) -> None:
        self._bars.console.print(text, highlight=False, markup=False)


def progress_for(console: Console) -> LineProgress | BarProgress:
    """Bars (use with `with`) if the console is a terminal, else lines."""
    return BarProgress(console) if console.is_terminal else LineProgress(console)


def _amount(value: int, unit: str) -> str:
    return f"{value / 1e6:.1f}" if unit == "MB" else str(value)
