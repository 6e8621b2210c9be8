"""Around a method's handler. This is the only place that knows gRPC's kinds of handlers: what it makes is always a stream in both directions.

On the wire that is the same. Here it means that the one message of a call is read by us: gRPC's own reading waits without end for a message that
does not come, and answers nothing at all to a call that ends without one.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio

from control.rpc.rpc_errors import invalid, refuse

__all__ = ["Around", "Handler", "wrapped"]

if TYPE_CHECKING:  # gRPC's classes are generic for the type checker only
    Handler = grpc.RpcMethodHandler[Any, Any] | None  # None for an unknown method
else:
    Handler = object
_MESSAGE_S = 10.0
"""A request follows its headers at once, also over a bad line."""
_SLOW_S = 60.0
"""A reader that takes no answer for so long is gone, or keeps an answer and a place of others for nothing."""

Around = Callable[[Any, Callable[[], AsyncIterator[Any]]], AsyncIterator[Any]]
"""(context, inner) -> answers: a unary method answers once."""
Checked = Callable[[Any, Any], AsyncIterator[Any]]
"""(requests, context) -> the requests that the handler is given."""


def wrapped(handler: Handler, around: Around, decode: Callable[[Any], Any] = lambda decoder: decoder, checked: Checked | None = None) -> Handler:
    """`handler` with `around` about it.

    Args:
        handler: of any kind.
        around: sees each call and each answer.
        decode: makes the decoder of requests from the handler's own.
        checked: looks at each request before the handler does.
    """
    if handler is None:
        return None  # unknown method: gRPC answers UNIMPLEMENTED
    behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    one_request = not handler.request_streaming
    answers_itself = handler.response_streaming

    async def inner(requests: Any, context: Any) -> AsyncIterator[Any]:
        if checked is not None:
            requests = checked(requests, context)
        result = behaviour(await _message(requests, context) if one_request else requests, context)
        if inspect.isawaitable(result):
            answer = await result
            if not answers_itself:
                yield answer
        else:
            async for answer in result:
                yield answer

    async def call(requests: Any, context: Any) -> None:
        async for answer in around(context, lambda: inner(requests, context)):
            await _write(context, answer)

    made: Handler = grpc.stream_stream_rpc_method_handler(
        call, request_deserializer=decode(handler.request_deserializer), response_serializer=handler.response_serializer
    )
    return made


async def _message(requests: AsyncIterator[Any], context: Any) -> Any:
    try:
        async with asyncio.timeout(_MESSAGE_S):
            return await anext(aiter(requests))
    except StopAsyncIteration:
        await invalid(context, [("message", "is missing")])
    except TimeoutError:
        await refuse(context, grpc.StatusCode.DEADLINE_EXCEEDED, f"no message came within {_MESSAGE_S:.0f} s")


async def _write(context: Any, answer: Any) -> None:
    try:
        async with asyncio.timeout(_SLOW_S):
            await context.write(answer)
    except TimeoutError:
        # The status waits behind the answer that is not read, for a reader that comes back, or until the connection ends; the call's place does not.
        text = f"no answer was read for {_SLOW_S:.0f} s"
        ending = asyncio.create_task(refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, text), name="end of a slow reader")
        _endings.add(ending)
        ending.add_done_callback(_ended)
        await asyncio.sleep(0)  # the refusal has begun: gRPC sends no other status any more
        raise grpc.aio.AbortError from None


_endings: set[asyncio.Task[NoReturn]] = set()
"""Tasks that nobody else keeps."""


def _ended(task: asyncio.Task[NoReturn]) -> None:
    _endings.discard(task)
    if not task.cancelled():
        task.exception()  # what `abort` always raises
