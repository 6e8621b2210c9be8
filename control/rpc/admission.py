"""Admission of calls: the token, checked before a call is read, and the counts for the limit of concurrent calls of each kind.

A call without the token does not count against a limit, is not decoded, and is refused at a limited rate, so that a flood of such calls does not
occupy the event loop.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio

from control.rpc.call_log import CallLog
from control.rpc.handlers import Continuation, Handler
from control.rpc.methods import Budget
from cryptoviz.rpc.channel import AUTHORIZATION

__all__ = ["CallCounts", "RefusalPacer", "TokenCheck", "same_token"]

_NEEDED = "metadata `authorization: Bearer <token>` is required; the token is in <home>/control.token"


class RefusalPacer:
    """Rate limit for refusals.

    Args:
        per_s: refusals per second, after a burst of the same number.
        longest_s: longest delay of a refusal.
        most: bound on delayed refusals, since each takes memory; any further refusal is sent at once.
    """

    def __init__(self, per_s: float = 50.0, longest_s: float = 4.0, most: int = 4_000) -> None:
        self._step_s = 1.0 / per_s
        self._burst_s = 1.0
        self._longest_s = longest_s
        self._most = most
        self._next_s = 0.0
        self.waiting = 0

    def delay_s(self, now_s: float) -> float:
        """Delay of the refusal of a call that arrived at `now_s` (s, monotonic)."""
        self._next_s = max(self._next_s, now_s - self._burst_s) + self._step_s
        wait_s = min(max(0.0, self._next_s - now_s), self._longest_s)
        # Refusals beyond the longest delay must not move the next slot further.
        self._next_s = min(self._next_s, now_s + self._longest_s)
        return wait_s

    async def turn(self) -> None:
        """Wait for this refusal's slot."""
        wait_s = self.delay_s(asyncio.get_running_loop().time())
        if wait_s <= 0 or self.waiting >= self._most:
            return
        self.waiting += 1
        try:
            await asyncio.sleep(wait_s)
        finally:
            self.waiting -= 1


class TokenCheck(grpc.aio.ServerInterceptor):
    """The outermost interceptor: refuses calls without the token, including unknown methods, health and reflection."""

    def __init__(self, token: str, log: CallLog, pacer: RefusalPacer | None = None) -> None:
        self._token = token
        self._log = log
        self.pacer = pacer or RefusalPacer()
        # A stream-stream handler for every method: gRPC then reads and decodes no message.
        self._refusal: Any = grpc.stream_stream_rpc_method_handler(self._refuse)

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Continue with a valid token; else refuse without looking up the method."""
        return await continuation(handler_call_details) if self._admits(handler_call_details) else self._refusal

    def _admits(self, details: grpc.HandlerCallDetails) -> bool:
        metadata: Any = details.invocation_metadata
        given = [value for key, value in metadata or () if key == AUTHORIZATION]
        if len(given) != 1 or not isinstance(given[0], str):
            return False
        scheme, _, token = given[0].partition(" ")
        return scheme.lower() == "bearer" and same_token(token.strip(), self._token)

    async def _refuse(self, requests: Any, context: Any) -> None:
        del requests
        self._log.refused("UNAUTHENTICATED", context.peer())
        await self.pacer.turn()
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, _NEEDED)


def same_token(given: str, expected: str) -> bool:
    """Constant-time comparison."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8"))


class CallCounts:
    """Counts concurrent calls by kind, and by kind and connection."""

    def __init__(self) -> None:
        self._all: Counter[str] = Counter()
        self._of: Counter[tuple[str, str]] = Counter()

    def full(self, budget: Budget, peer: str) -> str:
        """Why another call is refused; empty if it is admitted."""
        if self._all[budget.name] >= budget.total:
            return f"the limit of {budget.total} {budget.name} is reached: {budget.instead}"
        if self._of[budget.name, peer] >= budget.each:
            return f"the limit of {budget.each} {budget.name} per connection is reached: {budget.instead}"
        return ""

    @contextmanager
    def taken(self, budget: Budget, peer: str) -> Iterator[None]:
        """Count a call for the duration of the block."""
        self._all[budget.name] += 1
        self._of[budget.name, peer] += 1
        try:
            yield
        finally:
            self._all[budget.name] -= 1
            self._of[budget.name, peer] -= 1
            if not self._of[budget.name, peer]:
                del self._of[budget.name, peer]  # connections come and go

    def count(self, budget: Budget) -> int:
        return self._all[budget.name]
