"""Whether the lake job is healthy, as a pure function of what was seen: data moves, not just a process that lives."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["View", "judge"]

_SLACK_S = 30.0
_NO_EXECUTOR_S = 12.0  # Spark replaces a killed executor in 5-6 s


@dataclass(frozen=True, slots=True)
class View:
    """One look. Ages are seconds; `alive_age_s` since the last completed batch or idle trigger, `no_executor_s` since executors were last seen."""

    active: bool
    failure: str
    alive_age_s: float
    executors: int
    no_executor_s: float
    watch_age_s: float
    lag_records: int
    trouble: str = ""
    """What the present batch waits for: an engine that does not answer. A new run would wait for it too."""
    trouble_s: float = 0.0


def judge(view: View, trigger_s: float) -> tuple[bool, str]:
    """Healthy or not, and one line that says why."""
    limit_s = 3 * trigger_s + _SLACK_S
    if view.failure:
        return False, view.failure
    if not view.active:
        return False, "the streaming query has ended"
    if view.executors < 1 and view.no_executor_s > _NO_EXECUTOR_S:
        return False, f"Spark has had no executor for {view.no_executor_s:.0f} s: its application master is gone"
    if view.watch_age_s <= limit_s and view.trouble:
        return True, f"{view.trouble} (for {view.trouble_s:.0f} s; {view.lag_records} records behind Kafka)"
    if view.alive_age_s > limit_s:
        return False, f"no batch has completed for {view.alive_age_s:.0f} s (limit {limit_s:.0f} s)"
    if view.watch_age_s > limit_s:
        return False, f"Spark's driver has not answered for {view.watch_age_s:.0f} s"
    return True, f"{view.lag_records} records behind Kafka" if view.lag_records else "up to date"
