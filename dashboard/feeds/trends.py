"""The recent course of the components' metrics, for small trends. One for the process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

from cryptoviz.client import PipelineStatus

__all__ = ["MetricTrends"]

_POINTS = 60
_EVERY_MS = 5_000
_METRICS = 12
"""Of a component; further ones have no trend."""


class MetricTrends:
    """At most a point every five seconds, for five minutes. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._points: dict[tuple[str, str], deque[float]] = {}
        self._last_ms = 0

    def take(self, pipeline: PipelineStatus | None, now_ms: int) -> None:
        """Add the metrics of a status, unless the last one is too recent."""
        with self._lock:
            if pipeline is None or 0 <= now_ms - self._last_ms < _EVERY_MS:
                return
            self._last_ms = now_ms
            seen = set()
            for component in pipeline.components:
                for metric, value in list(component.metrics.items())[:_METRICS]:
                    seen.add((component.name, metric))
                    self._points.setdefault((component.name, metric), deque(maxlen=_POINTS)).append(value)
            for gone in self._points.keys() - seen:
                del self._points[gone]

    def of(self, component: str) -> Mapping[str, tuple[float, ...]]:
        """Points of each metric of a component, oldest first."""
        with self._lock:
            return {metric: tuple(points) for (name, metric), points in self._points.items() if name == component}
