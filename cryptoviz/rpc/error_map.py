"""Errors of the control service on the wire. One table for both sides: the server's interceptor sends by it, the clients raise by it.

An error is sent as its status code and message, with a `google.rpc.ErrorInfo` that names its type and carries its attributes; an invalid request as
`google.rpc.BadRequest`. `ControlRefused` needs neither: its only attribute is the status code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from cryptoviz.errors import ControlRefused, CryptoVizError, EngineUnavailable, InvalidRequest, OperationBusy, UnknownComponent, UnknownOperation
from cryptoviz.masking import redact
from cryptoviz.rpc.channel import STATUS_DETAILS

__all__ = ["BY_INFO", "ERROR_DOMAIN", "clip", "from_wire", "to_wire"]

ERROR_DOMAIN = "cryptoviz"
"""Domain of each `ErrorInfo`."""


@dataclass(frozen=True, slots=True)
class _Info:
    """How a type of error is sent: `code`, `ErrorInfo.reason`, and the key of each attribute in `ErrorInfo.metadata`."""

    code: grpc.StatusCode
    reason: str
    keys: Mapping[str, str]


BY_INFO: Mapping[type[CryptoVizError], _Info] = {
    UnknownComponent: _Info(grpc.StatusCode.NOT_FOUND, "UNKNOWN_COMPONENT", {"component": "component"}),
    UnknownOperation: _Info(grpc.StatusCode.NOT_FOUND, "UNKNOWN_OPERATION", {"operation": "operation_id"}),
    OperationBusy: _Info(grpc.StatusCode.RESOURCE_EXHAUSTED, "OPERATION_BUSY", {"operation": "operation_id"}),
    EngineUnavailable: _Info(grpc.StatusCode.UNAVAILABLE, "ENGINE_UNAVAILABLE", {"engine": "engine", "address": "address"}),
}
_BY_REASON = {info.reason: kind for kind, info in BY_INFO.items()}
_TRANSIENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
_MAX_FIELD, _MAX_DESCRIPTION, _MAX_VIOLATIONS = 100, 500, 8
"""Bytes, and a number. With the longest message, percent-encoded and again in the detail, they are just below the 8 KiB of metadata that a client
accepts: of a longer status it would see nothing but its length."""


def to_wire(error: CryptoVizError) -> tuple[grpc.StatusCode, str, Message | None] | None:
    """Status code, message and detail; None for an error that no caller expects."""
    if isinstance(error, InvalidRequest):
        clipped = [(clip(field, _MAX_FIELD), clip(text, _MAX_DESCRIPTION)) for field, text in error.violations[:_MAX_VIOLATIONS]]
        fields = [error_details_pb2.BadRequest.FieldViolation(field=field, description=text) for field, text in clipped]
        message = "; ".join(f"{field} {text}" for field, text in clipped) or error.message
        return grpc.StatusCode.INVALID_ARGUMENT, message, error_details_pb2.BadRequest(field_violations=fields)
    if isinstance(error, ControlRefused):
        code = grpc.StatusCode.__members__.get(error.code, grpc.StatusCode.OK)
        return None if code is grpc.StatusCode.OK else (code, error.message, None)
    for kind, info in BY_INFO.items():
        if isinstance(error, kind):
            metadata = {key: clip(getattr(error, name), _MAX_DESCRIPTION) for name, key in info.keys.items()}
            return info.code, error.message, error_details_pb2.ErrorInfo(reason=info.reason, domain=ERROR_DOMAIN, metadata=metadata)
    return None


def from_wire(error: grpc.RpcError, address: str) -> CryptoVizError:
    """The error that the service at `address` raised, or the failure of the call itself."""
    code, message = error.code(), error.details() or ""
    for info in _details(error, error_details_pb2.ErrorInfo):
        kind = _BY_REASON.get(info.reason)
        if info.domain == ERROR_DOMAIN and kind is not None:
            facts: dict[str, Any] = {name: info.metadata[key] for name, key in BY_INFO[kind].keys.items()}
            return kind(message, **facts)
    violations = [(one.field, one.description) for bad in _details(error, error_details_pb2.BadRequest) for one in bad.field_violations]
    if violations or code is grpc.StatusCode.INVALID_ARGUMENT:
        text = "; ".join(f"{field}: {text}" for field, text in violations) or message
        return InvalidRequest(f"{code.name}: {text}", violations=violations)
    if code is grpc.StatusCode.UNAVAILABLE:
        hint = f"the control service at {address} does not answer; start the pipeline with `cryptoviz up` or `cryptoviz demo` ({message})"
        return EngineUnavailable(hint, engine="control", address=address)
    if code in _TRANSIENT:
        return EngineUnavailable(f"the control service at {address}: {code.name}: {message}", engine="control", address=address)
    return ControlRefused(f"{code.name}: {message}", code=code.name)


def clip(text: object, most: int) -> str:
    """The redacted text as valid Unicode, at most its first `most` bytes in UTF-8."""
    data = redact(str(text)).encode("utf-8", "backslashreplace")
    return data.decode() if len(data) <= most else f"{data[: most - 1].decode('utf-8', 'ignore')}…"


def _details(error: grpc.RpcError, kind: type[Any]) -> Iterator[Any]:
    """The status details of one message type. None of a status that does not decode: its code and message are enough."""
    trailing: Any = error.trailing_metadata()  # pairs; the stubs declare a single pair
    with suppress(DecodeError):
        for key, value in trailing or ():
            if key == STATUS_DETAILS:
                for packed in status_pb2.Status.FromString(value).details:
                    detail = kind()
                    if packed.Unpack(detail):
                        yield detail
