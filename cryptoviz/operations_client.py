"""Clients for the operations of a running pipeline: start, watch, cancel. Available as `operations` of the control clients."""

from __future__ import annotations

import builtins
import uuid
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import aclosing
from typing import Any, TypeVar

from cryptoviz.control.v1 import operations_pb2 as pb
from cryptoviz.control.v1.operations_pb2_grpc import OperationsServiceStub
from cryptoviz.errors import EngineUnavailable
from cryptoviz.operations import Arguments, OperationStatus
from cryptoviz.rpc.client_channel import AsyncClientChannel, ClientChannel, Flow, Rpc, Stream, ask
from cryptoviz.rpc.convert_operations import arguments_to_proto, operation_from_proto

__all__ = ["AsyncOperationsClient", "OperationsClient"]

T = TypeVar("T")


class OperationsClient:
    """Every method raises, in addition to the errors of `ControlClient`:
    UnknownOperation: no operation has the id.
    OperationBusy: another operation of the kind runs (`start` and `resume` only).
    InvalidRequest: invalid arguments.
    ControlRefused: a required component does not run (`code` FAILED_PRECONDITION).
    """  # fmt: skip

    def __init__(self, channel: ClientChannel) -> None:
        self._channel = channel

    def start(self, arguments: Arguments, operation_id: str = "") -> OperationStatus:
        """Start an operation and return at once. Idempotent by id; resumes a failed, cancelled or interrupted operation of that id."""
        return self._channel.call(_start(arguments, operation_id))

    def resume(self, operation_id: str) -> OperationStatus:
        """Resume a failed, cancelled or interrupted operation; any other is returned unchanged."""
        return self._channel.run(_resume(operation_id))

    def get(self, operation_id: str) -> OperationStatus:
        """The status of one operation. Raises UnknownOperation."""
        return self._channel.call(_by_id("GetOperation", operation_id))

    def list(self) -> builtins.list[OperationStatus]:
        """The last hundred operations, newest first."""
        return self._channel.call(_list())

    def watch(self, operation_id: str, after_version: int = 0, *, timeout_s: float | None = None) -> Generator[OperationStatus, None, None]:
        """The current status, then each change, until the operation has ended. Raises EngineUnavailable after `timeout_s` seconds."""
        return self._channel.stream(_OperationWatch(operation_id, after_version), timeout_s)

    def wait(self, operation_id: str, timeout_s: float | None = None) -> OperationStatus:
        """Wait for the end and return the final status. Raises EngineUnavailable after `timeout_s` seconds."""
        for status in self.watch(operation_id, timeout_s=timeout_s):
            if status.over:
                return status
        raise _ended(self._channel.options.address)

    def cancel(self, operation_id: str) -> OperationStatus:
        """Request cancellation and return at once; use `wait` for the end."""
        return self._channel.call(_by_id("CancelOperation", operation_id))


class AsyncOperationsClient:
    """The methods and errors of `OperationsClient`; calls are awaited, `watch` is an async iterator."""

    def __init__(self, channel: AsyncClientChannel) -> None:
        self._channel = channel

    async def start(self, arguments: Arguments, operation_id: str = "") -> OperationStatus:
        return await self._channel.call(_start(arguments, operation_id))

    async def resume(self, operation_id: str) -> OperationStatus:
        return await self._channel.run(_resume(operation_id))

    async def get(self, operation_id: str) -> OperationStatus:
        return await self._channel.call(_by_id("GetOperation", operation_id))

    async def list(self) -> builtins.list[OperationStatus]:
        return await self._channel.call(_list())

    def watch(self, operation_id: str, after_version: int = 0, *, timeout_s: float | None = None) -> AsyncGenerator[OperationStatus, None]:
        return self._channel.stream(_OperationWatch(operation_id, after_version), timeout_s)

    async def wait(self, operation_id: str, timeout_s: float | None = None) -> OperationStatus:
        async with aclosing(self.watch(operation_id, timeout_s=timeout_s)) as watch:
            async for status in watch:
                if status.over:
                    return status
        raise _ended(self._channel.options.address)

    async def cancel(self, operation_id: str) -> OperationStatus:
        return await self._channel.call(_by_id("CancelOperation", operation_id))


class _OperationWatch(Stream[OperationStatus]):
    """WatchOperation. Resumes after the version of the last status."""

    stub = OperationsServiceStub
    method = "WatchOperation"

    def __init__(self, operation_id: str, after_version: int) -> None:
        self._id = operation_id
        self._version = after_version

    def request(self) -> pb.WatchOperationRequest:
        return pb.WatchOperationRequest(operation_id=self._id, after_version=self._version)

    def take(self, response: pb.WatchOperationResponse) -> Iterable[OperationStatus]:
        status = operation_from_proto(response.operation)
        self._version, self.over = status.version, status.over
        return (status,)


def _start(arguments: Arguments, operation_id: str) -> Rpc[OperationStatus]:
    chosen = operation_id or str(uuid.uuid4())  # set by the client, so that a repeated call cannot start two
    return _call("StartOperation", _one, operation_id=chosen, arguments=arguments_to_proto(arguments))


def _resume(operation_id: str) -> Flow[OperationStatus]:
    known = yield from ask(_by_id("GetOperation", operation_id))
    return (yield from ask(_start(known.arguments, operation_id)))


def _by_id(method: str, operation_id: str) -> Rpc[OperationStatus]:
    return _call(method, _one, operation_id=operation_id)


def _list() -> Rpc[list[OperationStatus]]:
    return _call("ListOperations", lambda response: [operation_from_proto(one) for one in response.operations])


def _call(method: str, read: Callable[[Any], T], **fields: Any) -> Rpc[T]:
    return Rpc(OperationsServiceStub, method, getattr(pb, f"{method}Request")(**fields), read)


def _one(response: Any) -> OperationStatus:
    return operation_from_proto(response.operation)


def _ended(address: str) -> EngineUnavailable:
    return EngineUnavailable(f"the control service at {address} ended the watch", engine="control", address=address)
