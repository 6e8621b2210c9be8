"""Ends a call with an error. Messages are short: they may quote the caller and travel in metadata."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2

from cryptoviz.rpc.channel import STATUS_DETAILS
from cryptoviz.rpc.error_map import clip

__all__ = ["refuse"]

_MAX_MESSAGE = 700
"""Bytes; see `cryptoviz.rpc.error_map` for the sum of a status."""


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
