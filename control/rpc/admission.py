"""Admission of calls: token and role, checked before a call is read, and the counts for the limit of concurrent calls of each kind.

A call without a valid token does not count against a limit, is not decoded, and is refused at a limited rate for its peer, so that a flood of such
calls does not occupy the event loop. A valid token is never delayed.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio

from control.rpc.call_log import CallLog
from control.rpc.callers import CALLER, Caller, Callers
from control.rpc.handlers import Continuation, Handler, refuse
from control.rpc.methods import Budget, role_of
from cryptoviz.rpc.channel import AUTHORIZATION

__all__ = ["CallCounts", "RefusalPacer", "TokenCheck", "address_of"]

_NEEDED = "metadata `authorization: Bearer <token>` is required; the token is in <home>/control.token, or from `cryptoviz tokens add`"
_REVOKED = "the token was revoked or replaced during the call"
_OTHERS = ""
"""Key of all peers without an entry of their own."""
_IPV6_NETWORK = 64
"""Prefix length: a host has a whole network of this size."""


class RefusalPacer:
    """Rate limit for refusals of each peer: refusals of one do not delay those of another.

    Args:
        per_s: refusals per second and peer, after a burst of the same number.
        longest_s: longest delay of a refusal.
        most: bound on delayed refusals, since each takes memory; any further refusal is sent at once.
        peers: bound on peers with a rate of their own. When all of them have recent refusals, further peers share one rate.
    """

    def __init__(self, per_s: float = 50.0, longest_s: float = 4.0, most: int = 4_000, peers: int = 1_024) -> None:
        self._step_s = 1.0 / per_s
        self._burst_s = 1.0
        self._longest_s = longest_s
        self._most = most
        self._peers = peers
        self._next_s: OrderedDict[str, float] = OrderedDict()
        """Next free slot by peer, least recently refused first."""
        self.waiting = 0

    def delay_s(self, peer: str, now_s: float) -> float:
        """Delay of the refusal of a call of `peer` that arrived at `now_s` (s, monotonic)."""
        key = peer if peer in self._next_s or self._has_room(now_s) else _OTHERS
        idle_s = now_s - self._burst_s
        slot_s = max(self._next_s.get(key, idle_s), idle_s) + self._step_s
        wait_s = min(max(0.0, slot_s - now_s), self._longest_s)
        # Refusals beyond the longest delay must not move the next slot further.
        self._next_s[key] = min(slot_s, now_s + self._longest_s)
        self._next_s.move_to_end(key)
        return wait_s

    async def turn(self, peer: str) -> None:
        """Wait for the slot of a refusal of `peer`."""
        wait_s = self.delay_s(peer, asyncio.get_running_loop().time())
        if wait_s <= 0 or self.waiting >= self._most:
            return
        self.waiting += 1
        try:
            await asyncio.sleep(wait_s)
        finally:
            self.waiting -= 1

    def _has_room(self, now_s: float) -> bool:
        """Forget the peers whose whole burst is free again. Returns whether there is room for another peer."""
        while len(self._next_s) >= self._peers:
            peer, next_s = next(iter(self._next_s.items()))
            if next_s > now_s - self._burst_s:
                return False
            del self._next_s[peer]
        return True


def address_of(peer: str) -> str:
    """The host in gRPC's name of a peer (`ipv4:192.0.2.1:5000`), without the port; of IPv6 the network of the host."""
    kind, _, rest = peer.partition(":")
    host = unquote(rest).rpartition(":")[0].strip("[]")
    if kind != "ipv6":
        return host
    try:
        address = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    return str(address.ipv4_mapped or ipaddress.IPv6Network((address, _IPV6_NETWORK), strict=False))


def caller_of(authorization: Sequence[str | bytes], callers: Callers) -> Caller | None:
    """The caller with the token in these values of `authorization`; None unless there is one value, with a valid token."""
    if len(authorization) != 1 or not isinstance(authorization[0], str):
        return None
    scheme, _, token = authorization[0].partition(" ")
    return callers.find(token.strip()) if scheme.lower() == "bearer" else None


class TokenCheck(grpc.aio.ServerInterceptor):
    """The outermost interceptor: refuses calls without a valid token, or of too low a role, including unknown methods, health and reflection."""

    def __init__(self, callers: Callers, log: CallLog, pacer: RefusalPacer | None = None) -> None:
        self._callers = callers
        self._log = log
        self.pacer = pacer or RefusalPacer()
        self.running: dict[asyncio.Task[Any], Caller] = {}
        self._revoked: set[asyncio.Task[Any]] = set()

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Continue with a valid token of the needed role; else refuse without looking up the method."""
        method = handler_call_details.method
        caller = self._caller(handler_call_details)
        # A refusal is a stream-stream handler for every method: gRPC then reads and decodes no message.
        if caller is None:
            return grpc.stream_stream_rpc_method_handler(partial(self._refuse, method))
        if not caller.role.permits(role_of(method)):
            return grpc.stream_stream_rpc_method_handler(partial(self._deny, method, caller))
        return self._followed(await continuation(handler_call_details), caller)

    def end_revoked(self) -> None:
        """End the running calls whose token is no longer valid, with UNAUTHENTICATED."""
        self._callers.refresh()
        for task, caller in self.running.items():
            if task not in self._revoked and not self._callers.is_valid(caller):
                self._revoked.add(task)
                task.cancel()

    def _caller(self, details: grpc.HandlerCallDetails) -> Caller | None:
        metadata: Any = details.invocation_metadata
        return caller_of([value for key, value in metadata or () if key == AUTHORIZATION], self._callers)

    def _followed(self, handler: Handler, caller: Caller) -> Handler:
        """The handler, of the kind of `control.rpc.handlers`, with its running calls in `running`."""
        if handler is None:
            return None
        behaviour: Any = handler.stream_stream

        async def call(requests: Any, context: Any) -> None:
            task: Any = asyncio.current_task()  # never None in a coroutine
            CALLER.set(caller.name)
            self.running[task] = caller
            try:
                await behaviour(requests, context)
            except asyncio.CancelledError:
                if task not in self._revoked:
                    raise  # by the client or the server's end
                task.uncancel()
                await refuse(context, grpc.StatusCode.UNAUTHENTICATED, _REVOKED)
            finally:
                del self.running[task]
                self._revoked.discard(task)

        made: Handler = grpc.stream_stream_rpc_method_handler(
            call,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return made

    async def _refuse(self, method: str, requests: Any, context: Any) -> None:
        del requests
        peer = context.peer()
        self._log.refused("UNAUTHENTICATED", method, peer)
        await self.pacer.turn(address_of(peer))
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, _NEEDED)

    async def _deny(self, method: str, caller: Caller, requests: Any, context: Any) -> None:
        del requests
        self._log.refused("PERMISSION_DENIED", method, context.peer(), caller.name)
        await self.pacer.turn(f"token {caller.name}")
        text = f"the method needs a token of the role `{role_of(method)}`; the token {caller.name!r} has the role `{caller.role}`"
        await refuse(context, grpc.StatusCode.PERMISSION_DENIED, text)


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
