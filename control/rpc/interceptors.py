"""What a call passes that has been admitted (`control.rpc.admission`), from the outside in: access log, fence. The fence lets none end as UNKNOWN."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from control.rpc.call_log import CallLog
from control.rpc.handlers import Handler, wrapped
from control.rpc.methods import only_reads, quiet
from control.rpc.request_checks import violations
from control.rpc.rpc_errors import invalid, refuse
from cryptoviz.log import get_logger

__all__ = ["AccessLog", "Fence"]

_logger = get_logger("controller")

if TYPE_CHECKING:  # gRPC's classes are generic for the type checker only
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]


class AccessLog(grpc.aio.ServerInterceptor):
    """One line a call: method, peer, code, milliseconds. Reads that succeed are told at DEBUG only: pages and tools poll them."""

    def __init__(self, log: CallLog) -> None:
        self._log = log

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Log around the handler."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method

        async def around(context: Any, inner: Callable[[], AsyncIterator[Any]]) -> AsyncIterator[Any]:
            begun = time.monotonic()
            outcome = "CANCELLED"  # what remains when the client goes away
            try:
                async for answer in inner():
                    yield answer
                outcome = "OK"
            except grpc.aio.AbortError:
                outcome = _code_name(context)
                raise
            finally:
                took_ms = round((time.monotonic() - begun) * 1000, 1)
                if outcome == "OK":
                    self._log.served(method, context.peer(), took_ms, quiet=quiet(method))
                else:
                    self._log.refused(outcome, context.peer(), method, took_ms)

        return wrapped(handler, around)


class Fence(grpc.aio.ServerInterceptor):
    """Only requests that can be meant reach a handler, and no call ends as UNKNOWN.

    Bytes that are no message, times that do not exist and the like are INVALID_ARGUMENT; a fault of ours is INTERNAL with an id that the log has too.
    """

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Check before the handler and catch around it."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        strict = not only_reads(method)

        async def checked(requests: Any, context: Any) -> AsyncIterator[Any]:
            async for request in requests:
                await _check(request, context, strict=strict)
                yield request

        async def around(context: Any, inner: Callable[[], AsyncIterator[Any]]) -> AsyncIterator[Any]:
            try:
                async for answer in inner():
                    yield answer
            except grpc.aio.AbortError:
                raise
            except NotImplementedError:  # what the generated code of a method raises that nobody wrote
                await refuse(context, grpc.StatusCode.UNIMPLEMENTED, "this service does not offer the method")
            except Exception:  # the edge of the service: the caller gets a code, the log gets the trace
                error_id = secrets.token_hex(6)
                _logger.exception("call_failed", method=method, error_id=error_id)
                await refuse(context, grpc.StatusCode.INTERNAL, f"internal error {error_id}; the controller's log says more")

        return wrapped(handler, around, decode=_tolerant, checked=checked)


async def _check(request: Any, context: Any, *, strict: bool) -> None:
    if isinstance(request, _Undecodable):
        await invalid(context, [("message", "is not a message of this method")])
    if isinstance(request, Message) and (wrong := violations(request, strict=strict)):
        await invalid(context, wrong)


class _Undecodable:
    """Stands for request bytes that are no message."""


def _tolerant(decode: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    def decoded(data: bytes) -> Any:
        try:
            return data if decode is None else decode(data)
        except Exception:  # noqa: BLE001 (whatever bytes do to a decoder, gRPC would make UNKNOWN of it)
            return _Undecodable()

    return decoded


def _code_name(context: Any) -> str:
    code = context.code()  # a StatusCode, or its number
    return next((one.name for one in grpc.StatusCode if code in (one, one.value[0])), str(code))
