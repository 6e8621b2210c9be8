"""What was sent over each connection and by each refill, as runs of trade ids; with the made trades of `market.tape`, all that a comparison needs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from market.tape import Trade

__all__ = ["ConnectionEntry", "StreamLedger"]

_MAX_ENTRIES = 10_000
"""Entries kept in memory; then the oldest is dropped."""
_MAX_RUNS = 100_000
"""Runs kept per connection and symbol: one per fault, so far above any test."""


@dataclass(slots=True)
class ConnectionEntry:
    """A connection. Times are UTC epoch ms. `sent`: by symbol, runs of ids `[first, last]` in the order of sending.

    A repeated id begins a run of its own. `frames` counts text frames of any kind.
    """

    connection: int
    venue: str
    path: str
    opened_ms: int
    closed_ms: int | None = None
    close_reason: str | None = None
    frames: int = 0
    trades: int = 0
    sent: dict[str, list[list[int]]] = field(default_factory=dict)

    def note(self, symbol: str, trades: Iterable[Trade]) -> None:
        runs = self.sent.setdefault(symbol, [])
        for trade in trades:
            self.trades += 1
            if runs and runs[-1][1] + 1 == trade.trade_id:
                runs[-1][1] = trade.trade_id
            elif len(runs) < _MAX_RUNS:
                runs.append([trade.trade_id, trade.trade_id])

    def describe(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class StreamLedger:
    """The connections and refills since the market started, numbered from 1. In memory."""

    def __init__(self) -> None:
        self.connections: deque[ConnectionEntry] = deque(maxlen=_MAX_ENTRIES)
        self._refills: deque[dict[str, Any]] = deque(maxlen=_MAX_ENTRIES)
        self._last_connection = 0
        self._last_refill = 0

    def open(self, venue: str, path: str, now_ms: int) -> ConnectionEntry:
        self._last_connection += 1
        entry = ConnectionEntry(self._last_connection, venue, path, now_ms)
        self.connections.append(entry)
        return entry

    def refilled(self, venue: str, symbol: str, trades: Iterable[Trade], now_ms: int) -> None:
        runs = ConnectionEntry(0, venue, "", now_ms)
        runs.note(symbol, sorted(trades))
        self._last_refill += 1
        self._refills.append({"refill": self._last_refill, "venue": venue, "symbol": symbol, "ts_ms": now_ms, "sent": runs.sent[symbol]})

    def page(self, since: int, since_refill: int, limit: int) -> dict[str, Any]:
        """Connections and refills after the given numbers, at most `limit` of each."""
        connections = [entry.describe() for entry in self.connections if entry.connection > since][:limit]
        refills = [entry for entry in self._refills if entry["refill"] > since_refill][:limit]
        return {
            "connections": connections,
            "refills": refills,
            "next_since": connections[-1]["connection"] if connections else since,
            "next_since_refill": refills[-1]["refill"] if refills else since_refill,
        }
