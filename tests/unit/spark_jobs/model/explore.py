"""Explores every order of the steps of some processes, state by state."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Explored", "explore"]

S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True)
class Explored(Generic[S]):
    """Size of the exploration, and the shortest path to a fault, if any. `sequences`: number of different paths from start to end."""

    states: int
    steps: int
    sequences: int
    fault: str = ""
    way: tuple[str, ...] = ()


def explore(starts: Iterable[S], moves: Callable[[S], Iterable[tuple[str, S]]], fault: Callable[[S], str]) -> Explored[S]:
    """Breadth first, so that a fault has a shortest path. The moves must not form cycles."""
    first = list(starts)
    came: dict[S, tuple[str, S | None]] = dict.fromkeys(first, ("", None))
    after: dict[S, list[S]] = {}
    waiting = deque(first)
    steps = 0
    while waiting:
        state = waiting.popleft()
        wrong = fault(state)
        if wrong:
            return Explored(len(came), steps, 0, wrong, _way(state, came))
        after[state] = []
        for name, to in moves(state):
            steps += 1
            after[state].append(to)
            if to not in came:
                came[to] = (name, state)
                waiting.append(to)
    return Explored(len(came), steps, _sequences(first, after))


def _way(state: S, came: dict[S, tuple[str, S | None]]) -> tuple[str, ...]:
    names = []
    at: S | None = state
    while at is not None:
        name, at = came[at]
        names.append(name)
    return tuple(reversed(names[:-1]))


def _sequences(starts: list[S], after: dict[S, list[S]]) -> int:
    """Number of paths to an end, summed backwards from the ends (in Kahn's order: breadth-first order is not enough)."""
    missing = {state: len(to) for state, to in after.items()}
    before: dict[S, list[S]] = {}
    for state, to in after.items():
        for one in to:
            before.setdefault(one, []).append(state)
    ways = {state: 1 for state, count in missing.items() if count == 0}
    ready = list(ways)
    while ready:
        state = ready.pop()
        for earlier in before.get(state, ()):
            ways[earlier] = ways.get(earlier, 0) + ways[state]
            missing[earlier] -= 1
            if missing[earlier] == 0:
                ready.append(earlier)
    assert len(ways) == len(after), "the moves go round in circles"
    return sum(ways[one] for one in starts)
