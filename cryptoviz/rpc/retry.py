"""When a client repeats a call that the control service did not answer, and when a stream reconnects."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from cryptoviz.errors import EngineUnavailable
from cryptoviz.rpc.error_map import from_wire

__all__ = ["Attempts", "Retry"]

_STREAM_DEADLINE_S = 600.0
"""A stream without a deadline of its caller is renewed this often, so that the service never keeps one for a client that it lost."""


@dataclass(frozen=True, slots=True)
class Retry:
    """When to repeat what fails with UNAVAILABLE because the service does not answer. Its own answer that an engine is unavailable is final.

    A call is repeated until its deadline. A stream reconnects, and resumes after what it has delivered.

    Attributes:
        first_s: longest wait before the first repetition, in seconds. Doubles each time; a wait is between half of it and all of it, at random.
        most_s: limit of the waits, in seconds.
        reconnect_s: a stream that gets no connection for so many seconds raises the error.
        only_while: called before each wait; False raises the error.
    """

    first_s: float = 0.1
    most_s: float = 2.0
    reconnect_s: float = 30.0
    only_while: Callable[[], bool] = lambda: True


class Attempts:
    """The attempts of a call or stream to `address`: the deadline of each and the wait before the next. Waiting is left to the caller.

    Args:
        retry: None for a single attempt.
        timeout_s: deadline of all attempts together; None for none.
        stream: reconnects for `retry.reconnect_s`, and is renewed.
    """

    def __init__(
        self,
        address: str,
        retry: Retry | None,
        timeout_s: float | None,
        *,
        stream: bool = False,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._address = address
        self._retry = retry
        self._clock = clock
        self._uniform = uniform
        self._renewed = stream and retry is not None
        self._reconnect_s = retry.reconnect_s if stream and retry is not None else math.inf
        self._deadline = math.inf if timeout_s is None else clock() + timeout_s
        self._began = 0.0
        self._lost: float | None = None
        self._failures = 0

    def begin(self) -> float | None:
        """Begin an attempt: its deadline in seconds, None for none."""
        self._began = self._clock()
        left = max(0.0, self._deadline - self._began)
        if self._renewed:
            left = min(left, _STREAM_DEADLINE_S)
        return None if left == math.inf else left

    def connected(self) -> None:
        """The service answered: the next outage is a new one."""
        self._lost, self._failures = None, 0

    def wait_s(self, error: grpc.RpcError, *, repeatable: bool = True) -> float:
        """Seconds to wait before the next attempt. Raises the typed error if there is none."""
        now, failed = self._clock(), from_wire(error, self._address)
        if self._renewed and repeatable and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and now < self._deadline:
            self.connected()
            return 0.0
        away = error.code() is grpc.StatusCode.UNAVAILABLE and isinstance(failed, EngineUnavailable) and failed.engine == "control"
        if self._retry is None or not (repeatable and away):
            raise failed from None
        if now - self._began >= self._reconnect_s:
            self.connected()  # no attempt to connect takes that long: it was connected, and nothing was sent
        if self._lost is None:
            self._lost = now
        wait_s = min(self._retry.most_s, self._retry.first_s * 2.0 ** min(self._failures, 32)) * (0.5 + 0.5 * self._uniform())
        self._failures += 1
        if now + wait_s >= min(self._deadline, self._lost + self._reconnect_s) or not self._retry.only_while():
            raise failed from None
        return wait_s
