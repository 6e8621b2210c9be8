"""The interceptor of every call with a token: call limit, deadline, request validation, status of errors, log. See also `control.rpc.admission`."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from control.rpc.admission import CallCounts
from control.rpc.call_log import CallLog
from control.rpc.callers import CALLER
from control.rpc.handlers import Call, Continuation, Handler, refuse, wrapped
from control.rpc.methods import answers_once, budget_of, deadline_s, only_reads, quiet
from control.rpc.request_checks import violations
from cryptoviz.errors import CryptoVizError, InvalidRequest
from cryptoviz.log import get_logger
from cryptoviz.rpc.error_map import to_wire

__all__ = ["RequestGuard"]

_logger = get_logger("controller")


class RequestGuard(grpc.aio.ServerInterceptor):
    """Admits a call within the limit of its kind, passes only valid requests to the method, ends each error in a status, logs and counts each call.

    A unary call without a deadline gets one.

    An error of `cryptoviz.rpc.error_map` is sent by that table. Undecodable messages, invalid timestamps and the like become INVALID_ARGUMENT;
    unexpected errors become INTERNAL with an id that is also logged. No call ends as UNKNOWN. Successful polls are logged at DEBUG.
    """

    def __init__(self, counts: CallCounts, log: CallLog) -> None:
        self._counts = counts
        self._log = log

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        strict = not only_reads(method)

        async def checked(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
            async for request in requests:
                _check(request, strict=strict)
                yield request

        return wrapped(handler, partial(self._around, method), _tolerant, checked, partial(_answers, method))

    async def _around(self, method: str, context: Any, call: Call) -> None:
        begun, peer, budget = time.monotonic(), context.peer(), budget_of(method)
        limit_s = deadline_s(method) if answers_once(method) and context.time_remaining() is None else None
        outcome = "CANCELLED"  # if the client disconnects
        try:
            full = self._counts.full(budget, peer)
            if full:
                await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, full)
            with self._counts.taken(budget, peer):
                try:
                    async with asyncio.timeout(limit_s):
                        await call()
                except TimeoutError:
                    text = f"no answer within {limit_s:g} s, the deadline of a call that sets none; repeat the call, with a deadline"
                    await refuse(context, grpc.StatusCode.DEADLINE_EXCEEDED, text)
            outcome = "OK"
        except grpc.aio.AbortError:
            outcome = _code_name(context)
            raise
        finally:
            took_s, caller = time.monotonic() - begun, CALLER.get()
            if outcome == "OK":
                self._log.served(method, peer, caller, took_s, quiet=quiet(method))
            else:
                self._log.failed(outcome, method, peer, caller, took_s)


async def _answers(method: str, context: Any, given: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The responses of a method; its errors end the call."""
    try:
        async for answer in given:
            yield answer
    except grpc.aio.AbortError:
        raise
    except NotImplementedError:  # raised by the generated base class
        await refuse(context, grpc.StatusCode.UNIMPLEMENTED, "this service does not offer the method")
    except (Exception, asyncio.CancelledError) as error:  # last resort: the caller gets a status, the log the traceback
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise  # the client or the server has ended this call; otherwise something that the method waited for was cancelled
        sent = to_wire(error) if isinstance(error, CryptoVizError) else None
        if sent is None:
            error_id = secrets.token_hex(6)
            _logger.exception("call_failed", method=method, error_id=error_id)
            sent = (grpc.StatusCode.INTERNAL, f"internal error {error_id}; see the controller's log", None)
        await refuse(context, *sent)


def _check(request: Any, *, strict: bool) -> None:
    if isinstance(request, _Undecodable):
        raise InvalidRequest.of(("message", "is not a message of this method"))
    if isinstance(request, Message) and (wrong := violations(request, strict=strict)):
        raise InvalidRequest.of(*wrong)


class _Undecodable:
    """Placeholder for a request that could not be decoded."""


def _tolerant(decode: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    def decoded(data: bytes) -> Any:
        try:
            return data if decode is None else decode(data)
        except Exception:  # noqa: BLE001 (any error of the decoder; gRPC would return UNKNOWN)
            return _Undecodable()

    return decoded


def _code_name(context: Any) -> str:
    code = context.code()  # a StatusCode or its number
    return next((one.name for one in grpc.StatusCode if code in (one, one.value[0])), str(code))
