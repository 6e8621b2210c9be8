"""`OperationsService`: validates requests and passes them to the manager. The contract of each RPC is in operations.proto."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from control.operations.manager import OperationManager, is_operation_id
from cryptoviz.control.v1 import operations_pb2 as pb
from cryptoviz.control.v1.operations_pb2_grpc import OperationsServiceServicer
from cryptoviz.errors import InvalidRequest
from cryptoviz.operations import OperationStatus
from cryptoviz.rpc.convert_operations import arguments_from_proto, operation_to_proto

__all__ = ["OperationService"]

Context = Any  # grpc.aio.ServicerContext; the generated stubs require a subclass of it and of the synchronous context


class OperationService(OperationsServiceServicer):
    """The RPCs."""

    def __init__(self, manager: OperationManager) -> None:
        self._manager = manager

    async def StartOperation(self, request: pb.StartOperationRequest, context: Context) -> pb.StartOperationResponse:
        del context
        try:
            arguments = arguments_from_proto(request.arguments)
        except ValueError as error:
            raise InvalidRequest.of(("arguments", str(error))) from None
        status = await self._manager.start(request.operation_id, arguments)
        return pb.StartOperationResponse(operation=operation_to_proto(status))

    async def GetOperation(self, request: pb.GetOperationRequest, context: Context) -> pb.GetOperationResponse:
        del context
        return pb.GetOperationResponse(operation=operation_to_proto(self._known(request.operation_id)))

    async def ListOperations(self, request: pb.ListOperationsRequest, context: Context) -> pb.ListOperationsResponse:
        del request, context
        return pb.ListOperationsResponse(operations=[operation_to_proto(one) for one in self._manager.all()])

    async def WatchOperation(self, request: pb.WatchOperationRequest, context: Context) -> AsyncIterator[pb.WatchOperationResponse]:
        del context
        self._known(request.operation_id)
        version = request.after_version
        while True:
            # A slow reader gets the newest status when it is ready; nothing is queued.
            status = await self._manager.changed_since(request.operation_id, version)
            version = status.version
            yield pb.WatchOperationResponse(operation=operation_to_proto(status))
            if status.over:
                return

    async def CancelOperation(self, request: pb.CancelOperationRequest, context: Context) -> pb.CancelOperationResponse:
        del context
        self._known(request.operation_id)
        return pb.CancelOperationResponse(operation=operation_to_proto(await self._manager.cancel(request.operation_id)))

    def _known(self, operation_id: str) -> OperationStatus:
        if not is_operation_id(operation_id):
            raise InvalidRequest.of(("operation_id", "must be 1 to 64 letters, digits and `-`"))
        return self._manager.get(operation_id)
