"""Interceptors for the access log, and for request validation and error mapping (no call ends as UNKNOWN). See also `control.rpc.admission`."""

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

__all__ = ["AccessLog", "RequestGuard"]

_logger = get_logger("controller")

if TYPE_CHECKING:  # gRPC's classes are generic for the type checker only
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]


class AccessLog(grpc.aio.ServerInterceptor):
    """Logs one line per call: method, peer, code, milliseconds. Successful polls are logged at DEBUG."""

    def __init__(self, log: CallLog) -> None:
        self._log = log

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Wrap the handler with the log."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method

        async def around(context: Any, inner: Callable[[], AsyncIterator[Any]]) -> AsyncIterator[Any]:
            begun = time.monotonic()
            outcome = "CANCELLED"  # if the client disconnects
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


class RequestGuard(grpc.aio.ServerInterceptor):
    """Passes only valid requests to the handler, and maps every error to a status other than UNKNOWN.

    Undecodable messages, invalid timestamps and the like become INVALID_ARGUMENT; unexpected errors become INTERNAL with an id that is also logged.
    """

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Wrap the handler with validation and error mapping."""
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
            except NotImplementedError:  # raised by the generated base class
                await refuse(context, grpc.StatusCode.UNIMPLEMENTED, "this service does not offer the method")
            except Exception:  # last resort: the caller gets a status, the log the traceback
                error_id = secrets.token_hex(6)
                _logger.exception("call_failed", method=method, error_id=error_id)
                await refuse(context, grpc.StatusCode.INTERNAL, f"internal error {error_id}; see the controller's log")

        return wrapped(handler, around, decode=_tolerant, checked=checked)


async def _check(request: Any, context: Any, *, strict: bool) -> None:
    if isinstance(request, _Undecodable):
        await invalid(context, [("message", "is not a message of this method")])
    if isinstance(request, Message) and (wrong := violations(request, strict=strict)):
        await invalid(context, wrong)


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
