"""Health of the lake job: a pure function. Healthy means that data moves, not only that the process is alive."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HealthInputs", "assess"]

_SLACK_S = 30.0
_NO_EXECUTOR_S = 12.0  # Spark replaces a killed executor in 5-6 s


@dataclass(frozen=True, slots=True)
class HealthInputs:
    """Inputs of the health check. `alive_age_s`: since the last completed batch or idle trigger; `no_executor_s`: since executors were last seen."""

    active: bool
    failure: str
    alive_age_s: float
    executors: int
    no_executor_s: float
    watch_age_s: float
    lag_records: int
    problem: str = ""
    """Message of the engine that the current batch waits for; empty if none. A restart would wait for it too."""
    problem_s: float = 0.0


def assess(inputs: HealthInputs, trigger_s: float) -> tuple[bool, str]:
    """Healthy or not, and a one-line reason."""
    limit_s = 3 * trigger_s + _SLACK_S
    if inputs.failure:
        return False, inputs.failure
    if not inputs.active:
        return False, "the streaming query has ended"
    if inputs.executors < 1 and inputs.no_executor_s > _NO_EXECUTOR_S:
        return False, f"Spark has had no executor for {inputs.no_executor_s:.0f} s"
    if inputs.watch_age_s <= limit_s and inputs.problem:
        return True, f"{inputs.problem} (for {inputs.problem_s:.0f} s; {inputs.lag_records} records behind Kafka)"
    if inputs.alive_age_s > limit_s:
        return False, f"no batch has completed for {inputs.alive_age_s:.0f} s (limit {limit_s:.0f} s)"
    if inputs.watch_age_s > limit_s:
        return False, f"Spark's driver has not answered for {inputs.watch_age_s:.0f} s"
    return True, f"{inputs.lag_records} records behind Kafka" if inputs.lag_records else "up to date"
