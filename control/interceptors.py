"""What every call passes, from the outside in: access log, token, fence (never UNKNOWN).

Each wraps a method's handler. gRPC has four kinds of handler; `_wrapped` is the only place that knows them.
"""

from __future__ import annotations

import inspect
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from control.token import same_token
from cryptoviz.control.channel import AUTHORIZATION
from cryptoviz.log import get_logger

__all__ = ["AccessLog", "Fence", "TokenAuth"]

_READS = ("/ListComponents", "/GetComponent", "/Check")

_logger = get_logger("controller")

if TYPE_CHECKING:  # gRPC's classes are generic for the type checker only
    Handler = grpc.RpcMethodHandler[Any, Any] | None  # None for an unknown method
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]
Around = Callable[[Any, Any, Callable[[], AsyncIterator[Any]]], AsyncIterator[Any]]
"""(request, context, inner) -> answers: a unary method answers once."""


class AccessLog(grpc.aio.ServerInterceptor):
    """One line a call: method, peer, code, milliseconds. Never what was asked or answered.

    Reads that succeed are told at DEBUG only: pages and tools poll them, and the log would hold little else.
    """

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Log around the handler."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method

        async def around(request: Any, context: Any, inner: Callable[[], AsyncIterator[Any]]) -> AsyncIterator[Any]:
            del request
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
                level = _logger.debug if outcome == "OK" and method.endswith(_READS) else _logger.info
                level("call", method=method, peer=context.peer(), code=outcome, ms=took_ms)

        return _wrapped(handler, around)


class Fence(grpc.aio.ServerInterceptor):
    """No call ends as UNKNOWN: bytes that are no message are INVALID_ARGUMENT, a fault of ours is INTERNAL with an id that the log has too."""

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Catch around the handler."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method

        async def around(request: Any, context: Any, inner: Callable[[], AsyncIterator[Any]]) -> AsyncIterator[Any]:
            if isinstance(request, _Undecodable):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request is not a message of this method")
            try:
                async for answer in inner():
                    yield answer
            except grpc.aio.AbortError:
                raise
            except Exception:  # the edge of the service: the caller gets a code, the log gets the trace
                error_id = secrets.token_hex(6)
                _logger.exception("call_failed", method=method, error_id=error_id)
                await context.abort(grpc.StatusCode.INTERNAL, f"internal error {error_id}; the controller's log says more")

        return _wrapped(handler, around, decode=_tolerant)


class TokenAuth(grpc.aio.ServerInterceptor):
    """Refuses calls without the token. Health and reflection ask for it too."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Refuse, or pass on."""
        handler = await continuation(handler_call_details)
        if self._admits(handler_call_details):
            return handler

        async def around(request: Any, context: Any, inner: Callable[[], AsyncIterator[Any]]) -> AsyncIterator[Any]:
            del request, inner
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "`authorization: Bearer <token>` is needed; the token is in <home>/control.token")
            yield  # an async generator by its form

        return _wrapped(handler, around)

    def _admits(self, details: grpc.HandlerCallDetails) -> bool:
        metadata: Any = details.invocation_metadata
        given = [value for key, value in metadata or () if key == AUTHORIZATION]
        if len(given) != 1 or not isinstance(given[0], str):
            return False
        scheme, _, token = given[0].partition(" ")
        return scheme.lower() == "bearer" and same_token(token.strip(), self._token)


class _Undecodable:
    """Stands for request bytes that are no message."""


def _tolerant(decode: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    def decoded(data: bytes) -> Any:
        try:
            return data if decode is None else decode(data)
        except (DecodeError, ValueError):  # gRPC would turn them into UNKNOWN
            return _Undecodable()

    return decoded


def _wrapped(handler: Handler, around: Around, decode: Callable[[Any], Any] = lambda decoder: decoder) -> Handler:
    if handler is None:
        return None  # unknown method: gRPC answers UNIMPLEMENTED
    behaviour: Any = (
        handler.stream_stream
        if handler.request_streaming and handler.response_streaming
        else handler.stream_unary
        if handler.request_streaming
        else handler.unary_stream
        if handler.response_streaming
        else handler.unary_unary
    )

    def inner(request: Any, context: Any) -> AsyncIterator[Any]:
        result = behaviour(request, context)
        return _once(result, silent=handler.response_streaming) if inspect.isawaitable(result) else result

    async def streaming(request: Any, context: Any) -> None:
        # Written, not yielded: gRPC allows one of the two per call, and the health service writes.
        async for answer in around(request, context, lambda: inner(request, context)):
            await context.write(answer)

    async def unary(request: Any, context: Any) -> Any:
        answers = [answer async for answer in around(request, context, lambda: inner(request, context))]
        return answers[0]

    make: Any = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    wrapped: Handler = make(
        streaming if handler.response_streaming else unary,
        request_deserializer=decode(handler.request_deserializer),
        response_serializer=handler.response_serializer,
    )
    return wrapped


async def _once(result: Awaitable[Any], *, silent: bool) -> AsyncIterator[Any]:
    """The one answer of a unary method, or none of a streaming one that writes by itself."""
    answer = await result
    if not silent:
        yield answer


def _code_name(context: Any) -> str:
    code = context.code()  # a StatusCode, or its number
    return next((one.name for one in grpc.StatusCode if code in (one, one.value[0])), str(code))
