"""Client for the operations of a running pipeline: start, watch, cancel. Available as `ControlClient.operations`."""

from __future__ import annotations

import builtins
import uuid
from collections.abc import Iterator

from cryptoviz.control.v1 import operations_pb2 as pb
from cryptoviz.control.v1.operations_pb2_grpc import OperationsServiceStub
from cryptoviz.errors import EngineUnavailable
from cryptoviz.operations import Arguments, OperationStatus
from cryptoviz.rpc.client_channel import ClientChannel
from cryptoviz.rpc.convert_operations import arguments_to_proto, operation_from_proto

__all__ = ["OperationsClient"]


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
        chosen = operation_id or str(uuid.uuid4())  # set by the client, so that gRPC's retries cannot start two
        request = pb.StartOperationRequest(operation_id=chosen, arguments=arguments_to_proto(arguments))
        return operation_from_proto(self._channel.call(OperationsServiceStub, "StartOperation", request).operation)

    def resume(self, operation_id: str) -> OperationStatus:
        """Resume a failed, cancelled or interrupted operation; any other is returned unchanged."""
        return self.start(self.get(operation_id).arguments, operation_id)

    def get(self, operation_id: str) -> OperationStatus:
        """Status of an operation."""
        request = pb.GetOperationRequest(operation_id=operation_id)
        return operation_from_proto(self._channel.call(OperationsServiceStub, "GetOperation", request).operation)

    def list(self) -> builtins.list[OperationStatus]:
        """The last hundred operations, newest first."""
        answer = self._channel.call(OperationsServiceStub, "ListOperations", pb.ListOperationsRequest())
        return [operation_from_proto(one) for one in answer.operations]

    def watch(self, operation_id: str, after_version: int = 0, *, timeout_s: float | None = None) -> Iterator[OperationStatus]:
        """The current status, then each change, until the operation has ended. Raises EngineUnavailable after `timeout_s` seconds."""
        request = pb.WatchOperationRequest(operation_id=operation_id, after_version=after_version)
        for answer in self._channel.stream(OperationsServiceStub, "WatchOperation", request, timeout_s):
            yield operation_from_proto(answer.operation)

    def wait(self, operation_id: str, timeout_s: float | None = None) -> OperationStatus:
        """Wait for the end and return the final status. Raises EngineUnavailable after `timeout_s` seconds."""
        for status in self.watch(operation_id, timeout_s=timeout_s):
            if status.over:
                return status
        raise EngineUnavailable(f"the control service at {self._channel.address} ended the watch", engine="control", address=self._channel.address)

    def cancel(self, operation_id: str) -> OperationStatus:
        """Request cancellation and return at once; use `wait` for the end."""
        request = pb.CancelOperationRequest(operation_id=operation_id)
        return operation_from_proto(self._channel.call(OperationsServiceStub, "CancelOperation", request).operation)
