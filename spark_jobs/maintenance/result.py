"""What a round of maintenance did. Imported by the actor, which stays small: no engine's library here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["MAINTAINED", "RoundResult"]

MAINTAINED = ("prices", "raw", "dead_letters", "candles", "gaps")
"""The tables that a round can be asked to look after."""


@dataclass(frozen=True, slots=True)
class RoundResult:
    """Figures of one round.

    Attributes:
        figures: counts by metric name.
        failures: `step: message`, empty when all went well.
        warnings: what somebody should look at though nothing failed.
        step_ms: how long each step took.
        took_ms: the whole round, without the start of its process.
        window_ms: the longest time in which a plain reader of a folder could see rows twice.
        peak_rss_mb: the process's largest resident size.
    """

    figures: Mapping[str, float] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    step_ms: Mapping[str, float] = field(default_factory=dict)
    took_ms: float = 0.0
    window_ms: float = 0.0
    peak_rss_mb: float = 0.0

    def to_json_dict(self) -> dict[str, Any]:
        """For the result file."""
        return asdict(self)

    @classmethod
    def from_json_dict(cls, data: Mapping[str, Any]) -> RoundResult:
        """Read what `to_json_dict` gave. Raises KeyError or TypeError for anything else."""
        return cls(
            figures={str(name): float(value) for name, value in data["figures"].items()},
            failures=tuple(str(one) for one in data["failures"]),
            warnings=tuple(str(one) for one in data.get("warnings", ())),
            step_ms={str(name): float(value) for name, value in data["step_ms"].items()},
            took_ms=float(data["took_ms"]),
            window_ms=float(data["window_ms"]),
            peak_rss_mb=float(data["peak_rss_mb"]),
        )
