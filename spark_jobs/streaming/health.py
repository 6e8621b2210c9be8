"""Health of the lake job: a pure function. Healthy means that data moves, not only that the process is alive."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["View", "judge"]

_SLACK_S = 30.0
_NO_EXECUTOR_S = 12.0  # Spark replaces a killed executor in 5-6 s


@dataclass(frozen=True, slots=True)
class View:
    """Inputs of the health check. `alive_age_s`: since the last completed batch or idle trigger; `no_executor_s`: since executors were last seen."""

    active: bool
    failure: str
    alive_age_s: float
    executors: int
    no_executor_s: float
    watch_age_s: float
    lag_records: int
    trouble: str = ""
    """Message of the engine that the current batch waits for; empty if none. A restart would wait for it too."""
    trouble_s: float = 0.0


def judge(view: View, trigger_s: float) -> tuple[bool, str]:
    """Healthy or not, and a one-line reason."""
    limit_s = 3 * trigger_s + _SLACK_S
    if view.failure:
        return False, view.failure
    if not view.active:
        return False, "the streaming query has ended"
    if view.executors < 1 and view.no_executor_s > _NO_EXECUTOR_S:
        return False, f"Spark has had no executor for {view.no_executor_s:.0f} s: its application master has ended"
    if view.watch_age_s <= limit_s and view.trouble:
        return True, f"{view.trouble} (for {view.trouble_s:.0f} s; {view.lag_records} records behind Kafka)"
    if view.alive_age_s > limit_s:
        return False, f"no batch has completed for {view.alive_age_s:.0f} s (limit {limit_s:.0f} s)"
    if view.watch_age_s > limit_s:
        return False, f"Spark's driver has not answered for {view.watch_age_s:.0f} s"
    return True, f"{view.lag_records} records behind Kafka" if view.lag_records else "up to date"
