"""Operations of a running pipeline from Python: start, follow, cancel. Reached as `ControlClient.operations`."""

from __future__ import annotations

import builtins
import uuid
from collections.abc import Iterator

import grpc
from google.rpc import error_details_pb2

from cryptoviz.control.v1 import operations_pb2 as pb
from cryptoviz.control.v1.operations_pb2_grpc import OperationsServiceStub
from cryptoviz.errors import CryptoVizError, EngineUnavailable, OperationBusy, UnknownOperation
from cryptoviz.operations import Arguments, OperationStatus
from cryptoviz.rpc.channel import BUSY
from cryptoviz.rpc.client_channel import Wire
from cryptoviz.rpc.convert_operations import arguments_to_proto, operation_from_proto

__all__ = ["OperationsClient"]


class OperationsClient:
    """Every method raises, beside the errors of `ControlClient`:
    UnknownOperation: no such id.
    OperationBusy: another operation of the kind runs (`start` and `resume` only).
    ControlRefused: arguments that cannot be meant (`code` INVALID_ARGUMENT), a component that is down (FAILED_PRECONDITION).
    """  # fmt: skip

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def start(self, arguments: Arguments, operation_id: str = "") -> OperationStatus:
        """Begin, and return at once. Safe to repeat with the same id; a failed, cancelled or interrupted one of that id goes on."""
        chosen = operation_id or str(uuid.uuid4())  # by us, so that gRPC's own retries cannot begin two
        request = pb.StartOperationRequest(operation_id=chosen, arguments=arguments_to_proto(arguments))
        return operation_from_proto(self._wire.call(OperationsServiceStub, "StartOperation", request, _special).operation)

    def resume(self, operation_id: str) -> OperationStatus:
        """Let one that failed, was cancelled or interrupted go on; any other is returned as it is."""
        return self.start(self.get(operation_id).arguments, operation_id)

    def get(self, operation_id: str) -> OperationStatus:
        """One operation."""
        request = pb.GetOperationRequest(operation_id=operation_id)
        return operation_from_proto(self._wire.call(OperationsServiceStub, "GetOperation", request, _special).operation)

    def list(self) -> builtins.list[OperationStatus]:
        """The last hundred, the newest first."""
        answer = self._wire.call(OperationsServiceStub, "ListOperations", pb.ListOperationsRequest(), _special)
        return [operation_from_proto(one) for one in answer.operations]

    def watch(self, operation_id: str, after_version: int = 0, *, timeout_s: float | None = None) -> Iterator[OperationStatus]:
        """The operation as it is, then each change, until it has ended. Raises EngineUnavailable after `timeout_s` seconds."""
        request = pb.WatchOperationRequest(operation_id=operation_id, after_version=after_version)
        for answer in self._wire.stream(OperationsServiceStub, "WatchOperation", request, _special, timeout_s):
            yield operation_from_proto(answer.operation)

    def wait(self, operation_id: str, timeout_s: float | None = None) -> OperationStatus:
        """How it ended. Raises EngineUnavailable when it has not within `timeout_s` seconds."""
        for status in self.watch(operation_id, timeout_s=timeout_s):
            if status.over:
                return status
        raise EngineUnavailable(f"the control service at {self._wire.address} ended the watch", engine="control", address=self._wire.address)

    def cancel(self, operation_id: str) -> OperationStatus:
        """Ask it to end, and return at once; `wait` shows it has."""
        request = pb.CancelOperationRequest(operation_id=operation_id)
        return operation_from_proto(self._wire.call(OperationsServiceStub, "CancelOperation", request, _special).operation)


def _special(code: grpc.StatusCode, details: str, info: error_details_pb2.ErrorInfo) -> CryptoVizError | None:
    if code is grpc.StatusCode.NOT_FOUND:
        return UnknownOperation(details)
    if info.reason == BUSY:
        return OperationBusy(details, operation=info.metadata["operation_id"])
    return None
