"""`OperationsService`: validates requests and passes them to the manager. The contract of each RPC is in operations.proto."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from control.operations.manager import InvalidArguments, OperationManager, is_operation_id
from control.rpc.rpc_errors import busy, invalid, refuse
from cryptoviz.control.v1 import operations_pb2 as pb
from cryptoviz.control.v1.operations_pb2_grpc import OperationsServiceServicer
from cryptoviz.errors import ControlRefused, OperationBusy, UnknownOperation
from cryptoviz.rpc.convert_operations import arguments_from_proto, operation_to_proto

__all__ = ["OperationService"]

Context = Any  # grpc.aio.ServicerContext; the generated stubs require a subclass of it and of the synchronous context


class OperationService(OperationsServiceServicer):
    """The RPCs."""

    def __init__(self, manager: OperationManager) -> None:
        self._manager = manager

    async def StartOperation(self, request: pb.StartOperationRequest, context: Context) -> pb.StartOperationResponse:
        try:
            arguments = arguments_from_proto(request.arguments)
        except ValueError as error:
            await invalid(context, [("arguments", str(error))])
        try:
            status = await self._manager.start(request.operation_id, arguments)
        except InvalidArguments as error:
            await invalid(context, error.violations)
        except OperationBusy as error:
            await busy(context, error.message, error.operation)
        except ControlRefused as error:
            await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, error.message)
        return pb.StartOperationResponse(operation=operation_to_proto(status))

    async def GetOperation(self, request: pb.GetOperationRequest, context: Context) -> pb.GetOperationResponse:
        await self._known(request.operation_id, context)
        return pb.GetOperationResponse(operation=operation_to_proto(self._manager.get(request.operation_id)))

    async def ListOperations(self, request: pb.ListOperationsRequest, context: Context) -> pb.ListOperationsResponse:
        del request, context
        return pb.ListOperationsResponse(operations=[operation_to_proto(one) for one in self._manager.all()])

    async def WatchOperation(self, request: pb.WatchOperationRequest, context: Context) -> AsyncIterator[pb.WatchOperationResponse]:
        await self._known(request.operation_id, context)
        version = request.after_version
        while True:
            # A slow reader gets the newest status when it is ready; nothing is queued.
            status = await self._manager.changed_since(request.operation_id, version)
            version = status.version
            yield pb.WatchOperationResponse(operation=operation_to_proto(status))
            if status.over:
                return

    async def CancelOperation(self, request: pb.CancelOperationRequest, context: Context) -> pb.CancelOperationResponse:
        await self._known(request.operation_id, context)
        return pb.CancelOperationResponse(operation=operation_to_proto(await self._manager.cancel(request.operation_id)))

    async def _known(self, operation_id: str, context: Context) -> None:
        if not is_operation_id(operation_id):
            await invalid(context, [("operation_id", "must be 1 to 64 letters, digits and `-`")])
        try:
            self._manager.get(operation_id)
        except UnknownOperation as unknown:
            await refuse(context, grpc.StatusCode.NOT_FOUND, unknown.message)
