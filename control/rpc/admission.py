"""Who is served: first the token, before anything is read of a call, then room among the calls of its kind.

A call without the token takes no room, is not decoded, and is answered slowly when many of them come, so that a flood of them spends its time waiting
instead of the event loop's working.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from control.rpc.call_log import CallLog
from control.rpc.handlers import Handler, wrapped
from control.rpc.methods import Budget, budget_of
from control.rpc.rpc_errors import refuse
from control.rpc.token import same_token
from cryptoviz.rpc.channel import AUTHORIZATION

__all__ = ["Gate", "Pace", "Room", "Turnstile"]

if TYPE_CHECKING:  # gRPC's classes are generic for the type checker only
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]

_NEEDED = "`authorization: Bearer <token>` is needed; the token is in <home>/control.token"


class Pace:
    """Spreads refusals over time.

    Args:
        per_s: so many are answered a second, once a burst of as many has been answered at once.
        longest_s: none waits longer.
        most: so many wait at a time; those past it are answered at once, since waiting takes memory.
    """

    def __init__(self, per_s: float = 50.0, longest_s: float = 4.0, most: int = 4_000) -> None:
        self._step_s = 1.0 / per_s
        self._burst_s = 1.0
        self._longest_s = longest_s
        self._most = most
        self._next_s = 0.0
        self.waiting = 0

    def delay_s(self, now_s: float) -> float:
        """How long the refusal of a call that came at `now_s` waits (s, monotonic)."""
        self._next_s = max(self._next_s, now_s - self._burst_s) + self._step_s
        wait_s = min(max(0.0, self._next_s - now_s), self._longest_s)
        # Those beyond the longest wait must not push the time of the next ones out for ever.
        self._next_s = min(self._next_s, now_s + self._longest_s)
        return wait_s

    async def turn(self) -> None:
        """Wait until it is this refusal's time."""
        wait_s = self.delay_s(asyncio.get_running_loop().time())
        if wait_s <= 0 or self.waiting >= self._most:
            return
        self.waiting += 1
        try:
            await asyncio.sleep(wait_s)
        finally:
            self.waiting -= 1


class Gate(grpc.aio.ServerInterceptor):
    """The outermost: refuses calls without the token, unknown methods too. Health and reflection ask for it as well."""

    def __init__(self, token: str, log: CallLog, pace: Pace | None = None) -> None:
        self._token = token
        self._log = log
        self.pace = pace or Pace()
        # As a stream in both directions, whatever the method: then gRPC reads no message and decodes none.
        self._refusal: Any = grpc.stream_stream_rpc_method_handler(self._refuse)

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Pass on, or refuse without asking who would have served it."""
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
        await self.pace.turn()
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, _NEEDED)


class Room:
    """Counts the calls that are being served, by kind and by kind and connection."""

    def __init__(self) -> None:
        self._all: Counter[str] = Counter()
        self._of: Counter[tuple[str, str]] = Counter()

    def full(self, budget: Budget, peer: str) -> str:
        """Why one more is not served, for the caller; empty when it is."""
        if self._all[budget.name] >= budget.total:
            return f"{budget.total} {budget.name} are being served, no more are: {budget.instead}"
        if self._of[budget.name, peer] >= budget.each:
            return f"{budget.each} {budget.name} of this connection are being served, no more are: {budget.instead}"
        return ""

    @contextmanager
    def taken(self, budget: Budget, peer: str) -> Iterator[None]:
        """One more, until the block ends."""
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
        """Of one kind, now."""
        return self._all[budget.name]


class Turnstile(grpc.aio.ServerInterceptor):
    """Serves a call while there is room for its kind; else RESOURCE_EXHAUSTED, at once."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Count around the handler."""
        handler = await continuation(handler_call_details)
        budget = budget_of(handler_call_details.method)

        async def around(context: Any, inner: Callable[[], AsyncIterator[Any]]) -> AsyncIterator[Any]:
            peer = context.peer()
            full = self._room.full(budget, peer)
            if full:
                await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, full)
            with self._room.taken(budget, peer):
                async for answer in inner():
                    yield answer

        return wrapped(handler, around)
