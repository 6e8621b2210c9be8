"""Wraps method handlers. The only place that knows gRPC's kinds of handlers; the wrapped handler is always stream-stream.

On the wire that is equivalent. Here it means that this module reads the request message: gRPC itself waits without a timeout for a missing message,
and sends no status to a call that ends without one.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2

from cryptoviz.errors import ControlRefused, InvalidRequest
from cryptoviz.rpc.channel import STATUS_DETAILS
from cryptoviz.rpc.error_map import clip

__all__ = ["Call", "Continuation", "Handler", "refuse", "wrapped"]

if TYPE_CHECKING:  # gRPC's classes are generic for the type checker only
    Handler = grpc.RpcMethodHandler[Any, Any] | None  # None: unknown method
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]
else:
    Handler = Continuation = object
_MESSAGE_S = 10.0
"""Timeout for the request message; it follows its headers at once, also over a slow connection."""
_MAX_MESSAGE = 700
"""Bytes; see `cryptoviz.rpc.error_map` for the sum of a status."""
_SLOW_S = 60.0
"""Timeout for a client that does not read a response: it occupies memory and a slot of the call limit."""

Call = Callable[[], Awaitable[None]]
Around = Callable[[Any, Call], Awaitable[None]]
"""(context, call): `call` runs the method and writes its responses."""
Each = Callable[[AsyncIterator[Any]], AsyncIterator[Any]]
"""Requests to requests."""
Answers = Callable[[Any, AsyncIterator[Any]], AsyncIterator[Any]]
"""(context, responses) -> responses; a unary method yields one."""


def wrapped(handler: Handler, around: Around, decode: Callable[[Any], Any], checked: Each, answers: Answers) -> Handler:
    """Wrap a method's handler.

    Args:
        handler: of any kind.
        around: receives each call.
        decode: wraps the handler's request decoder.
        checked: validates each request before the handler.
        answers: receives the responses of the handler, and the errors that it raises.
    """
    if handler is None:
        return None  # unknown method: gRPC returns UNIMPLEMENTED
    behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    one_request = not handler.request_streaming
    answers_itself = handler.response_streaming

    async def inner(requests: Any, context: Any) -> AsyncIterator[Any]:
        requests = checked(requests)
        result = behaviour(await _message(requests) if one_request else requests, context)
        if inspect.isawaitable(result):
            answer = await result
            if not answers_itself:
                yield answer
        else:
            async for answer in result:
                yield answer

    async def call(requests: Any, context: Any) -> None:
        async def run() -> None:
            async for answer in answers(context, inner(requests, context)):
                await _write(context, answer)

        await around(context, run)

    made: Handler = grpc.stream_stream_rpc_method_handler(
        call, request_deserializer=decode(handler.request_deserializer), response_serializer=handler.response_serializer
    )
    return made


async def _message(requests: AsyncIterator[Any]) -> Any:
    try:
        async with asyncio.timeout(_MESSAGE_S):
            return await anext(aiter(requests))
    except StopAsyncIteration:
        raise InvalidRequest.of(("message", "is missing")) from None
    except TimeoutError:
        raise ControlRefused(f"no request message within {_MESSAGE_S:.0f} s", code="DEADLINE_EXCEEDED") from None


async def _write(context: Any, answer: Any) -> None:
    try:
        async with asyncio.timeout(_SLOW_S):
            await context.write(answer)
    except TimeoutError:
        # The status stays queued behind the unread response until the client reads or the connection ends; the call's slot is released at once.
        text = f"no response was read for {_SLOW_S:.0f} s"
        ending = asyncio.create_task(refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, text), name="end of a slow reader")
        _endings.add(ending)
        ending.add_done_callback(_ended)
        await asyncio.sleep(0)  # the refusal has begun: gRPC sends no other status
        raise grpc.aio.AbortError from None


_endings: set[asyncio.Task[NoReturn]] = set()
"""Strong references to running tasks."""


def _ended(task: asyncio.Task[NoReturn]) -> None:
    _endings.discard(task)
    if not task.cancelled():
        task.exception()  # what `abort` always raises


async def refuse(context: Any, code: grpc.StatusCode, message: str, detail: Message | None = None) -> NoReturn:
    """End the call with `code`, a message (redacted and cut to a few hundred bytes) and an optional detail. Servicers raise an error instead."""
    message = clip(message, _MAX_MESSAGE)
    trailing: tuple[tuple[str, bytes], ...] = ()
    if detail is not None:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status = status_pb2.Status(code=code.value[0], message=message, details=[packed])
        trailing = ((STATUS_DETAILS, status.SerializeToString()),)
    try:
        await context.abort(code, message, trailing)
    except grpc.aio.InternalError:  # gRPC has already ended the call, for example because its message was too large
        raise grpc.aio.AbortError from None
    raise AssertionError  # abort never returns
