"""Result of a maintenance round. Imported by the actor, so it imports no engine library, to keep that process small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["MAINTAINED", "PROGRESS_SUFFIX", "RoundResult"]

MAINTAINED = ("prices", "raw", "dead_letters", "candles", "gaps", "trades", "trade_gaps", "venue_candles", "quotes", "trade_candles")
"""Tables that a round can be limited to."""
PROGRESS_SUFFIX = ".progress"
"""Of the file beside the result with the progress text of a running round."""


@dataclass(frozen=True, slots=True)
class RoundResult:
    """Figures of one round.

    Attributes:
        figures: counts by metric name.
        failures: `step: message`; empty on success.
        warnings: problems that did not fail a step.
        step_ms: duration by step.
        took_ms: duration of the round, without the start of its process.
        window_ms: longest time in which a plain reader of a folder could see rows twice.
        peak_rss_mb: peak resident size of the process.
    """

    figures: Mapping[str, float] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    step_ms: Mapping[str, float] = field(default_factory=dict)
    took_ms: float = 0.0
    window_ms: float = 0.0
    peak_rss_mb: float = 0.0

    def to_json_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json_dict(cls, data: Mapping[str, Any]) -> RoundResult:
        """Parse the output of `to_json_dict`. Raises KeyError or TypeError for anything else."""
        return cls(
            figures={str(name): float(value) for name, value in data["figures"].items()},
            failures=tuple(str(one) for one in data["failures"]),
            warnings=tuple(str(one) for one in data.get("warnings", ())),
            step_ms={str(name): float(value) for name, value in data["step_ms"].items()},
            took_ms=float(data["took_ms"]),
            window_ms=float(data["window_ms"]),
            peak_rss_mb=float(data["peak_rss_mb"]),
        )
