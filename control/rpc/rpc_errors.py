"""Errors sent to callers. Messages are short: they may quote the caller and travel in metadata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from cryptoviz.masking import redact
from cryptoviz.rpc.channel import BUSY, ERROR_DOMAIN, STATUS_DETAILS

__all__ = ["busy", "invalid", "refuse"]

_MAX_MESSAGE = 700
_MAX_DESCRIPTION = 500
_MAX_VIOLATIONS = 8


async def invalid(context: Any, violations: Sequence[tuple[str, str]]) -> NoReturn:
    """End the call as INVALID_ARGUMENT; `violations` are pairs of field and description, sent as `google.rpc.BadRequest` too."""
    clipped = [(_clip(field, 100), _clip(description, _MAX_DESCRIPTION)) for field, description in violations[:_MAX_VIOLATIONS]]
    fields = [error_details_pb2.BadRequest.FieldViolation(field=field, description=description) for field, description in clipped]
    message = "; ".join(f"{field} {description}" for field, description in clipped)
    await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, message, error_details_pb2.BadRequest(field_violations=fields))


async def busy(context: Any, message: str, operation_id: str) -> NoReturn:
    """End the call as RESOURCE_EXHAUSTED because of a running operation; `google.rpc.ErrorInfo` distinguishes this from the call limits."""
    info = error_details_pb2.ErrorInfo(reason=BUSY, domain=ERROR_DOMAIN, metadata={"operation_id": operation_id})
    await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, message, info)


async def refuse(context: Any, code: grpc.StatusCode, message: str, detail: Message | None = None) -> NoReturn:
    """End the call with `code`, a message (cut to a few hundred characters) and an optional detail."""
    message = _clip(redact(message), _MAX_MESSAGE)
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


def _clip(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
