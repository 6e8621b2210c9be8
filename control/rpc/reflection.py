"""Server reflection with an idle timeout; no request ends as an internal error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection_pb2 as pb
from grpc_reflection.v1alpha import reflection_pb2_grpc
from grpc_reflection.v1alpha.reflection import aio

from cryptoviz.errors import ControlRefused

__all__ = ["Reflection"]

_IDLE_S = 60.0
"""Idle timeout of a stream; tools send their requests within a second."""

Context = Any  # grpc.aio.ServicerContext; the generated stubs require a subclass of it and of the synchronous context


class Reflection(reflection_pb2_grpc.ServerReflectionServicer):  # type: ignore[misc]  # the library has no types
    """Passes each request separately to the library's servicer."""

    def __init__(self, services: tuple[str, ...], idle_s: float = _IDLE_S) -> None:
        self._library = aio.ReflectionServicer(services)
        self._idle_s = idle_s

    async def ServerReflectionInfo(
        self, request_iterator: AsyncIterator[pb.ServerReflectionRequest], context: Context
    ) -> AsyncIterator[pb.ServerReflectionResponse]:
        while True:
            try:
                async with asyncio.timeout(self._idle_s):
                    question = await anext(request_iterator)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise ControlRefused(f"no request for {self._idle_s:.0f} s", code="DEADLINE_EXCEEDED") from None
            yield await self._answer(question, context)

    async def _answer(self, question: pb.ServerReflectionRequest, context: Context) -> pb.ServerReflectionResponse:
        try:
            return await anext(aiter(self._library.ServerReflectionInfo(_once(question), context)))
        except Exception:  # noqa: BLE001 (invalid numbers and names make the descriptor pool raise: reported as not found)
            code = grpc.StatusCode.NOT_FOUND
            error = pb.ErrorResponse(error_code=code.value[0], error_message=code.value[1])
            return pb.ServerReflectionResponse(error_response=error, original_request=question)


async def _once(question: pb.ServerReflectionRequest) -> AsyncIterator[pb.ServerReflectionRequest]:
    yield question
