"""Sparkline of recent prices as SVG."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["sparkline_svg"]

WIDTH = 92
HEIGHT = 24
_MARGIN = 2.0
_MAX_POINTS = 46  # one per two pixels


def sparkline_svg(prices: Sequence[float]) -> str:
    """An inline SVG of the prices, oldest first; green if the last is at or above the first. Empty with fewer than two prices."""
    points = _thin(prices)
    if len(points) < 2:
        return '<span class="cv-muted">—</span>'
    low, high = min(points), max(points)
    span = (high - low) or 1.0
    step = (WIDTH - 2 * _MARGIN) / (len(points) - 1)
    path = " ".join(
        f"{_MARGIN + i * step:.1f},{HEIGHT - _MARGIN - (price - low) / span * (HEIGHT - 2 * _MARGIN):.1f}" for i, price in enumerate(points)
    )
    way = "up" if points[-1] >= points[0] else "down"
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return (
        f'<svg class="cv-spark cv-{way}" {size} role="img" aria-label="recent prices, {way}">'
        f'<polyline points="{path}" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linejoin="round"/></svg>'
    )


def _thin(prices: Sequence[float]) -> list[float]:
    if len(prices) <= _MAX_POINTS:
        return list(prices)
    step = (len(prices) - 1) / (_MAX_POINTS - 1)
    return [prices[round(i * step)] for i in range(_MAX_POINTS)]
