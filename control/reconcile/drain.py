"""How long components may drain while everything stops: together for a bounded time, whatever the sum of their own grace periods is."""

from __future__ import annotations

from cryptoviz.clock import Clock, steady_ms

__all__ = ["Drain"]

_TOGETHER_S = 5.0
"""As long as the slowest component that ends before the engines, the lake."""
_LEAST_S = 1.0
"""Also of a component whose predecessors took longer. At most two are in line after them: scrapers, the collector, Kafka."""


class Drain:
    """A shutdown, from `begin` on. What does not stop in time is killed; each component repeats or reports what it had not finished."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._end_ms: int | None = None

    @property
    def begun(self) -> bool:
        """Whether a shutdown has begun."""
        return self._end_ms is not None

    def begin(self) -> None:
        """Begin the shutdown; no-op if it has begun."""
        if self._end_ms is None:
            self._end_ms = steady_ms(self._clock) + round(_TOGETHER_S * 1000)

    def grace_s(self, own_s: float) -> float:
        """Grace period in seconds of a component that begins to stop now, of which it has `own_s`."""
        if self._end_ms is None:
            return own_s
        return min(own_s, max(_LEAST_S, (self._end_ms - steady_ms(self._clock)) / 1000))
