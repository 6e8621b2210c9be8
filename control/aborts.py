"""How a call is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from cryptoviz.control.channel import STATUS_DETAILS

__all__ = ["invalid"]


async def invalid(context: Any, violations: Sequence[tuple[str, str]]) -> NoReturn:
    """End the call as INVALID_ARGUMENT; `violations` are pairs of field and description, sent as `google.rpc.BadRequest` too."""
    fields = [error_details_pb2.BadRequest.FieldViolation(field=field, description=description) for field, description in violations]
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.BadRequest(field_violations=fields))
    message = "; ".join(f"{field} {description}" for field, description in violations)
    status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=message, details=[detail])
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, message, ((STATUS_DETAILS, status.SerializeToString()),))
    raise AssertionError  # abort never returns
