"""Limits failed sign-ins by address, in a bounded table. Pure: times are passed in, seconds."""

from __future__ import annotations

import math
from collections import OrderedDict, deque

__all__ = ["FailedSignIns"]

_FAILURES = 10
_WITHIN_S = 60.0
_ADDRESSES = 1024


class FailedSignIns:
    """At most ten failures a minute of an address; further attempts wait."""

    def __init__(self) -> None:
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str, now_s: float) -> int:
        """Whole seconds until the address may try again; 0: now."""
        times = self._times.get(address)
        if times is None or len(times) < _FAILURES or now_s - times[0] >= _WITHIN_S:
            return 0
        return math.ceil(_WITHIN_S - (now_s - times[0]))

    def note(self, address: str, now_s: float) -> None:
        """Count a failure."""
        times = self._times.setdefault(address, deque(maxlen=_FAILURES))
        times.append(now_s)
        self._times.move_to_end(address)
        while len(self._times) > _ADDRESSES:
            self._times.popitem(last=False)

    def __len__(self) -> int:
        return len(self._times)
