"""`RefillPlan`: which missing trades of a venue to ask for next. Pure: the caller has the clock, the limiter and the connection.

- A gap waits `settle_us` before it is requested, because late frames close many gaps.
- Runs that lie close together are one request; symbols take turns, so that one long gap does not hold up the others.
- A symbol whose request failed, or brought nothing, waits, twice as long each time; a refusal by the venue holds all symbols.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptoviz.trades.gap_tracker import MissingRun
from cryptoviz.trades.id_runs import IdRun

__all__ = ["RefillJob", "RefillPlan", "first_request"]

SETTLE_US = 250_000
"""Measured reorder of real streams is below 100 ms."""
FIRST_WAIT_US = 1_000_000
LONGEST_WAIT_US = 300_000_000
"""A venue's history that lags, or an outage, is asked again every five minutes at the latest."""


@dataclass(frozen=True, slots=True)
class RefillJob:
    """Numbers of one symbol to ask for: the arguments of `StreamVenue.refill`."""

    symbol: str
    run: IdRun
    around_us: tuple[int | None, int | None]


@dataclass(slots=True)
class _Turn:
    """When a symbol was last requested, when it may be again, and the number of successive requests without a result."""

    asked: int = 0
    due_us: int = 0
    in_vain: int = 0


class RefillPlan:
    """The order of refills of one venue. Times: UTC epoch us of our clock, or any that only rises."""

    def __init__(self, rows: int, *, settle_us: int = SETTLE_US) -> None:
        """`rows`: of one response, as in `RefillLimits`."""
        self._rows = rows
        self._settle_us = settle_us
        self._turns: dict[str, _Turn] = {}
        self._asked = 0
        self._hold_until_us = 0

    def next(self, missing: Mapping[str, Sequence[MissingRun]], now_us: int) -> RefillJob | None:
        """The next job; None if nothing is missing or everything has to wait. `missing`: `GapTracker.missing()` by symbol."""
        if now_us < self._hold_until_us:
            return None
        self._turns = {symbol: turn for symbol, turn in self._turns.items() if missing.get(symbol)}
        waiting = {symbol: settled for symbol, runs in missing.items() if (settled := self._settled(runs, now_us)) and self._is_due(symbol, now_us)}
        if not waiting:
            return None
        symbol = min(waiting, key=lambda each: (self._turn(each).asked, each))
        self._asked += 1
        self._turn(symbol).asked = self._asked
        return first_request(symbol, waiting[symbol], self._rows)

    def answered(self, symbol: str, filled: int, now_us: int) -> None:
        """A job of the symbol ended; `filled`: numbers that it brought or proved to be gone."""
        if filled:
            turn = self._turn(symbol)
            turn.in_vain, turn.due_us = 0, now_us
        else:
            self.failed(symbol, now_us)

    def failed(self, symbol: str, now_us: int, *, hold_s: float | None = None) -> None:
        """A job of the symbol failed; `hold_s`: the venue refuses all calls for so long."""
        turn = self._turn(symbol)
        turn.due_us = now_us + min(LONGEST_WAIT_US, FIRST_WAIT_US * 2 ** min(turn.in_vain, 20))
        turn.in_vain += 1
        if hold_s is not None:
            self._hold_until_us = max(self._hold_until_us, now_us + round(hold_s * 1_000_000))

    def due_us(self, missing: Mapping[str, Sequence[MissingRun]]) -> int | None:
        """The time of the next job; None if nothing is missing."""
        times = [
            max(self._hold_until_us, self._turn(symbol).due_us, min(run.opened_us for run in runs) + self._settle_us)
            for symbol, runs in missing.items()
            if runs
        ]
        return min(times, default=None)

    def _turn(self, symbol: str) -> _Turn:
        return self._turns.setdefault(symbol, _Turn())

    def _is_due(self, symbol: str, now_us: int) -> bool:
        return symbol not in self._turns or now_us >= self._turns[symbol].due_us

    def _settled(self, runs: Sequence[MissingRun], now_us: int) -> list[MissingRun]:
        return [run for run in runs if run.opened_us + self._settle_us <= now_us]


def first_request(symbol: str, runs: Sequence[MissingRun], rows: int) -> RefillJob:
    """The first of the runs, and those after it that a response of `rows` trades reaches as well. `runs` are ascending, at least one."""
    first = last = runs[0]
    for run in runs[1:]:
        if run.run.last - first.run.first >= rows:
            break
        last = run
    return RefillJob(symbol, IdRun(first.run.first, last.run.last), (first.around_us[0], last.around_us[1]))
