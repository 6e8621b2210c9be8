"""Moments of the monotonic clock that outlive a process: written to a file, read again by a successor, by another boot or machine too."""

from __future__ import annotations

from typing import Any

from cryptoviz.clock import Clock, steady_ms
from cryptoviz.process_identity import monotonic_origin

__all__ = ["kept_at", "shift_since"]


def kept_at(clock: Clock, at_ms: int) -> dict[str, Any]:
    """What a file says of the moment `at_ms` (monotonic ms) at which it was written."""
    return {"at_ms": at_ms, "at_utc_ms": clock.now_ms(), "origin": monotonic_origin()}


def shift_since(clock: Clock, kept: dict[str, Any]) -> int:
    """What to add to the file's monotonic moments so that they are this process's. 0 on the same boot, whatever the wall clock did since.

    After another boot only the wall clock tells how long ago the file was written; one that was set back counts as no time.
    """
    if "origin" not in kept:  # an earlier version wrote moments of the wall clock
        return steady_ms(clock) - clock.now_ms()
    if kept["origin"] and kept["origin"] == monotonic_origin():
        return 0
    age_ms = max(0, clock.now_ms() - int(kept["at_utc_ms"]))
    return steady_ms(clock) - age_ms - int(kept["at_ms"])
