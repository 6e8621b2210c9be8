"""`OperationsService`: checks what is asked, hands it to the desk, and answers. The contract of each RPC is operations.proto."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from control.operations.manager import InvalidArguments, OperationDesk, is_operation_id
from control.rpc.rpc_errors import busy, invalid, refuse
from cryptoviz.control.v1 import operations_pb2 as pb
from cryptoviz.control.v1.operations_pb2_grpc import OperationsServiceServicer
from cryptoviz.errors import ControlRefused, OperationBusy, UnknownOperation
from cryptoviz.rpc.convert_operations import arguments_from_proto, operation_to_proto

__all__ = ["OperationService"]

Context = Any  # grpc.aio.ServicerContext; the generated stubs ask for a class that is both that and the blocking one


class OperationService(OperationsServiceServicer):
    """The RPCs."""

    def __init__(self, desk: OperationDesk) -> None:
        self._desk = desk

    async def StartOperation(self, request: pb.StartOperationRequest, context: Context) -> pb.StartOperationResponse:
        try:
            arguments = arguments_from_proto(request.arguments)
        except ValueError as error:
            await invalid(context, [("arguments", str(error))])
        try:
            status = await self._desk.start(request.operation_id, arguments)
        except InvalidArguments as error:
            await invalid(context, error.violations)
        except OperationBusy as error:
            await busy(context, error.message, error.operation)
        except ControlRefused as error:
            await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, error.message)
        return pb.StartOperationResponse(operation=operation_to_proto(status))

    async def GetOperation(self, request: pb.GetOperationRequest, context: Context) -> pb.GetOperationResponse:
        await self._known(request.operation_id, context)
        return pb.GetOperationResponse(operation=operation_to_proto(self._desk.get(request.operation_id)))

    async def ListOperations(self, request: pb.ListOperationsRequest, context: Context) -> pb.ListOperationsResponse:
        del request, context
        return pb.ListOperationsResponse(operations=[operation_to_proto(one) for one in self._desk.all()])

    async def WatchOperation(self, request: pb.WatchOperationRequest, context: Context) -> AsyncIterator[pb.WatchOperationResponse]:
        await self._known(request.operation_id, context)
        version = request.after_version
        while True:
            # A slow reader finds the newest status when it is ready for the next: nothing queues up for it here.
            status = await self._desk.changed_since(request.operation_id, version)
            version = status.version
            yield pb.WatchOperationResponse(operation=operation_to_proto(status))
            if status.over:
                return

    async def CancelOperation(self, request: pb.CancelOperationRequest, context: Context) -> pb.CancelOperationResponse:
        await self._known(request.operation_id, context)
        return pb.CancelOperationResponse(operation=operation_to_proto(await self._desk.cancel(request.operation_id)))

    async def _known(self, operation_id: str, context: Context) -> None:
        if not is_operation_id(operation_id):
            await invalid(context, [("operation_id", "is 1 to 64 letters, digits and `-`")])
        try:
            self._desk.get(operation_id)
        except UnknownOperation as unknown:
            await refuse(context, grpc.StatusCode.NOT_FOUND, unknown.message)
