"""`ControlService`: validates requests and passes them to the reconciler. The contract of each RPC is in control.proto."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
import grpc.aio

from control.reconcile.components import is_component_name
from control.reconcile.reconciler import Reconciler
from control.rpc.log_reader import follow, last_lines, pages
from control.rpc.provider_states import ProviderStates
from control.rpc.rpc_errors import invalid, refuse
from cryptoviz.components import ComponentStatus, scraper_name
from cryptoviz.control.v1 import control_pb2 as pb
from cryptoviz.control.v1.control_pb2_grpc import ControlServiceServicer
from cryptoviz.errors import ControlRefused, UnknownComponent
from cryptoviz.log_files import log_path
from cryptoviz.provider_status import ProviderStatus
from cryptoviz.rpc.convert import component_to_proto, pipeline_to_proto
from cryptoviz.rpc.convert_providers import provider_to_proto
from cryptoviz.settings import Settings

__all__ = ["ControlService"]

_DEFAULT_LINES = 100
_MAX_LINES = 10_000
_MAX_REASON = 200

Context = Any  # grpc.aio.ServicerContext; the generated stubs require a subclass of it and of the synchronous context


class ControlService(ControlServiceServicer):
    """The RPCs. `on_shutdown` is called for each Shutdown call."""

    def __init__(self, reconciler: Reconciler, settings: Settings, on_shutdown: Callable[[], Awaitable[None]]) -> None:
        self._reconciler = reconciler
        self._settings = settings
        self._on_shutdown = on_shutdown
        self._provider_states = ProviderStates(reconciler, reconciler.runtime, settings)

    async def ListComponents(self, request: pb.ListComponentsRequest, context: Context) -> pb.ListComponentsResponse:
        del request, context
        return pb.ListComponentsResponse(pipeline=pipeline_to_proto(self._reconciler.snapshot()))

    async def GetComponent(self, request: pb.GetComponentRequest, context: Context) -> pb.GetComponentResponse:
        async def get(name: str) -> ComponentStatus:
            return self._reconciler.component(name)

        return pb.GetComponentResponse(component=await self._one(request.name, context, get))

    async def StartComponent(self, request: pb.StartComponentRequest, context: Context) -> pb.StartComponentResponse:
        return pb.StartComponentResponse(component=await self._one(request.name, context, self._reconciler.start))

    async def StopComponent(self, request: pb.StopComponentRequest, context: Context) -> pb.StopComponentResponse:
        return pb.StopComponentResponse(component=await self._one(request.name, context, self._reconciler.stop))

    async def RestartComponent(self, request: pb.RestartComponentRequest, context: Context) -> pb.RestartComponentResponse:
        return pb.RestartComponentResponse(component=await self._one(request.name, context, self._reconciler.restart))

    async def StartPipeline(self, request: pb.StartPipelineRequest, context: Context) -> pb.StartPipelineResponse:
        await self._this_pipeline(request.pipeline_id, context)
        try:
            pipeline = await self._reconciler.start_all()
        except ControlRefused as refused:
            await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, refused.message)
        return pb.StartPipelineResponse(pipeline=pipeline_to_proto(pipeline))

    async def StopPipeline(self, request: pb.StopPipelineRequest, context: Context) -> pb.StopPipelineResponse:
        await self._this_pipeline(request.pipeline_id, context)
        return pb.StopPipelineResponse(pipeline=pipeline_to_proto(await self._reconciler.stop_all()))

    async def Shutdown(self, request: pb.ShutdownRequest, context: Context) -> pb.ShutdownResponse:
        await self._this_pipeline(request.pipeline_id, context)
        await self._on_shutdown()
        return pb.ShutdownResponse(pipeline=pipeline_to_proto(self._reconciler.shutdown()))

    async def WatchPipeline(self, request: pb.WatchPipelineRequest, context: Context) -> AsyncIterator[pb.WatchPipelineResponse]:
        del context
        version = request.after_version
        while True:
            # A slow reader gets the newest snapshot when it is ready; nothing is queued.
            pipeline = await self._reconciler.changed_since(version)
            version = pipeline.version
            yield pb.WatchPipelineResponse(pipeline=pipeline_to_proto(pipeline))

    async def TailLogs(self, request: pb.TailLogsRequest, context: Context) -> AsyncIterator[pb.TailLogsResponse]:
        name = await self._known(request.name, context)
        lines = request.lines or _DEFAULT_LINES
        if lines > _MAX_LINES:
            await _invalid(context, "lines", f"is {lines}; must be at most {_MAX_LINES}")
        path = log_path(self._settings, name)
        if not request.follow:
            for page in pages(await last_lines(path, lines)):
                yield pb.TailLogsResponse(lines=page)
            return
        async for page in follow(path, lines):
            yield pb.TailLogsResponse(lines=page)

    async def ListProviders(self, request: pb.ListProvidersRequest, context: Context) -> pb.ListProvidersResponse:
        del request, context
        return pb.ListProvidersResponse(providers=[provider_to_proto(one) for one in await self._provider_states.all()])

    async def GetProvider(self, request: pb.GetProviderRequest, context: Context) -> pb.GetProviderResponse:
        return pb.GetProviderResponse(provider=await self._provider(request.name, context, self._provider_states.one))

    async def TripBreaker(self, request: pb.TripBreakerRequest, context: Context) -> pb.TripBreakerResponse:
        reason = request.reason or "opened by the operator"
        if len(reason) > _MAX_REASON or not reason.isprintable():
            await _invalid(context, "reason", f"must be at most {_MAX_REASON} printable characters without line breaks")

        async def trip(name: str) -> ProviderStatus:
            return await self._provider_states.trip(name, reason)

        return pb.TripBreakerResponse(provider=await self._provider(request.name, context, trip))

    async def ResetBreaker(self, request: pb.ResetBreakerRequest, context: Context) -> pb.ResetBreakerResponse:
        return pb.ResetBreakerResponse(provider=await self._provider(request.name, context, self._provider_states.reset))

    async def _provider(self, name: str, context: Context, verb: Callable[[str], Awaitable[ProviderStatus]]) -> pb.Provider:
        if not is_component_name(scraper_name(name)):
            await _invalid(context, "name", "must look like `coingecko`: lower-case letters, digits, `-` and `_`")
        try:
            return provider_to_proto(await verb(name))
        except UnknownComponent as unknown:
            await refuse(context, grpc.StatusCode.NOT_FOUND, unknown.message)
        except ControlRefused as refused:
            await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, refused.message)

    async def _one(self, name: str, context: Context, verb: Callable[[str], Awaitable[ComponentStatus]]) -> pb.Component:
        await self._known(name, context)
        try:
            return component_to_proto(await verb(name))
        except ControlRefused as refused:
            await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, refused.message)

    async def _known(self, name: str, context: Context) -> str:
        """`name`, validated, because it becomes part of a path and of log lines."""
        if not is_component_name(name):
            await _invalid(context, "name", "must look like `kafka` or `scraper/coingecko`: lower-case letters, digits, `-`, `_` and one `/`")
        try:
            return self._reconciler.table.require(name).name
        except UnknownComponent as unknown:
            await refuse(context, grpc.StatusCode.NOT_FOUND, unknown.message)

    async def _this_pipeline(self, pipeline_id: str, context: Context) -> None:
        """Require the pipeline's id, so that a request that decodes by accident stops nothing."""
        own = self._reconciler.snapshot().id
        if pipeline_id != own:
            await _invalid(context, "pipeline_id", f"must be {own}, the id of this pipeline (see ListComponents)")


async def _invalid(context: Context, field: str, description: str) -> NoReturn:
    await invalid(context, [(field, description)])
