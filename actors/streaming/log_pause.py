"""How often something that can happen with each frame is logged."""

from __future__ import annotations

from cryptoviz.clock import Clock

__all__ = ["LOG_PAUSE_S", "LogPause"]

LOG_PAUSE_S = 60.0


class LogPause:
    """Lets the first one pass, and then one every `LOG_PAUSE_S`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._logged_s = float("-inf")

    def over(self) -> bool:
        """Whether to log this one."""
        now_s = self._clock.monotonic_s()
        if now_s - self._logged_s < LOG_PAUSE_S:
            return False
        self._logged_s = now_s
        return True
