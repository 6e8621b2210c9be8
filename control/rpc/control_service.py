"""`ControlService`: validates requests and passes them to the reconciler. The contract of each RPC is in control.proto."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

from control.reconcile.components import is_component_name
from control.reconcile.reconciler import Reconciler
from control.rpc.call_metrics import BOUNDS_S, CallMetrics
from control.rpc.log_reader import LogPosition, follow, last_lines, pages
from control.rpc.provider_states import ProviderStates
from cryptoviz.components import scraper_name
from cryptoviz.control.v1 import control_pb2 as pb
from cryptoviz.control.v1.control_pb2_grpc import ControlServiceServicer
from cryptoviz.errors import InvalidRequest
from cryptoviz.rpc.convert import component_to_proto, pipeline_to_proto
from cryptoviz.rpc.convert_providers import provider_to_proto
from cryptoviz.settings import Settings
from cryptoviz.telemetry.log_files import log_path

__all__ = ["ControlService"]

_DEFAULT_LINES = 100
_MAX_LINES = 10_000
_MAX_REASON = 200

Context = Any  # grpc.aio.ServicerContext; the generated stubs require a subclass of it and of the synchronous context


class ControlService(ControlServiceServicer):
    """The RPCs. `on_shutdown` is called for each Shutdown call."""

    def __init__(self, reconciler: Reconciler, settings: Settings, on_shutdown: Callable[[], Awaitable[None]], call_metrics: CallMetrics) -> None:
        self._reconciler = reconciler
        self._settings = settings
        self._on_shutdown = on_shutdown
        self._call_metrics = call_metrics
        self._provider_states = ProviderStates(reconciler, settings)

    async def ListComponents(self, request: pb.ListComponentsRequest, context: Context) -> pb.ListComponentsResponse:
        del request, context
        return pb.ListComponentsResponse(pipeline=pipeline_to_proto(self._reconciler.snapshot()))

    async def GetComponent(self, request: pb.GetComponentRequest, context: Context) -> pb.GetComponentResponse:
        del context
        return pb.GetComponentResponse(component=component_to_proto(self._reconciler.component(self._known(request.name))))

    async def StartComponent(self, request: pb.StartComponentRequest, context: Context) -> pb.StartComponentResponse:
        del context
        return pb.StartComponentResponse(component=component_to_proto(await self._reconciler.start(self._known(request.name))))

    async def StopComponent(self, request: pb.StopComponentRequest, context: Context) -> pb.StopComponentResponse:
        del context
        return pb.StopComponentResponse(component=component_to_proto(await self._reconciler.stop(self._known(request.name))))

    async def RestartComponent(self, request: pb.RestartComponentRequest, context: Context) -> pb.RestartComponentResponse:
        del context
        return pb.RestartComponentResponse(component=component_to_proto(await self._reconciler.restart(self._known(request.name))))

    async def StartPipeline(self, request: pb.StartPipelineRequest, context: Context) -> pb.StartPipelineResponse:
        del context
        self._this_pipeline(request.pipeline_id)
        return pb.StartPipelineResponse(pipeline=pipeline_to_proto(await self._reconciler.start_all(keep_stopped=request.keep_stopped)))

    async def StopPipeline(self, request: pb.StopPipelineRequest, context: Context) -> pb.StopPipelineResponse:
        del context
        self._this_pipeline(request.pipeline_id)
        return pb.StopPipelineResponse(pipeline=pipeline_to_proto(await self._reconciler.stop_all()))

    async def Shutdown(self, request: pb.ShutdownRequest, context: Context) -> pb.ShutdownResponse:
        del context
        self._this_pipeline(request.pipeline_id)
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
        del context
        name = self._known(request.name)
        lines = request.lines or _DEFAULT_LINES
        if lines > _MAX_LINES:
            raise InvalidRequest.of(("lines", f"is {lines}; must be at most {_MAX_LINES}"))
        path, run = log_path(self._settings, name), partial(self._reconciler.run_at, name)
        if not request.follow:
            for page in pages(await last_lines(path, lines, run)):
                yield pb.TailLogsResponse(lines=page)
            return
        async for page, position in follow(path, lines, _position(request.after), run):
            yield pb.TailLogsResponse(lines=page, position="" if position is None else str(position))

    async def ListProviders(self, request: pb.ListProvidersRequest, context: Context) -> pb.ListProvidersResponse:
        del request, context
        return pb.ListProvidersResponse(providers=[provider_to_proto(one) for one in await self._provider_states.all()])

    async def GetProvider(self, request: pb.GetProviderRequest, context: Context) -> pb.GetProviderResponse:
        del context
        return pb.GetProviderResponse(provider=provider_to_proto(await self._provider_states.one(_provider(request.name))))

    async def TripBreaker(self, request: pb.TripBreakerRequest, context: Context) -> pb.TripBreakerResponse:
        del context
        reason = request.reason or "opened by the operator"
        if len(reason) > _MAX_REASON or not reason.isprintable():
            raise InvalidRequest.of(("reason", f"must be at most {_MAX_REASON} printable characters without line breaks"))
        return pb.TripBreakerResponse(provider=provider_to_proto(await self._provider_states.trip(_provider(request.name), reason)))

    async def ResetBreaker(self, request: pb.ResetBreakerRequest, context: Context) -> pb.ResetBreakerResponse:
        del context
        return pb.ResetBreakerResponse(provider=provider_to_proto(await self._provider_states.reset(_provider(request.name))))

    async def ListCallMetrics(self, request: pb.ListCallMetricsRequest, context: Context) -> pb.ListCallMetricsResponse:
        del request, context
        methods = [
            pb.CallMetrics(method=method, calls=one.codes, latency=one.latency, latency_sum_s=one.total_s)
            for method, one in sorted(self._call_metrics.methods.items())
        ]
        return pb.ListCallMetricsResponse(methods=methods, bounds_s=BOUNDS_S)

    def _known(self, name: str) -> str:
        """`name`, validated, because it becomes part of a path and of log lines."""
        if not is_component_name(name):
            text = "must look like `kafka`, `scraper/coingecko` or `scraper/coingecko/2`: lower-case letters, digits, `-`, `_` and `/`"
            raise InvalidRequest.of(("name", text))
        return self._reconciler.table.require(name).name

    def _this_pipeline(self, pipeline_id: str) -> None:
        """Require the pipeline's id, so that a request that decodes by accident stops nothing."""
        own = self._reconciler.snapshot().id
        if pipeline_id != own:
            raise InvalidRequest.of(("pipeline_id", f"must be {own}, the id of this pipeline (see ListComponents)"))


def _provider(name: str) -> str:
    """`name`, validated."""
    if not is_component_name(scraper_name(name)):
        raise InvalidRequest.of(("name", "must look like `coingecko`: lower-case letters, digits, `-` and `_`"))
    return name


def _position(text: str) -> LogPosition | None:
    try:
        return LogPosition.parse(text) if text else None
    except ValueError:
        raise InvalidRequest.of(("after", "must be the `position` of an earlier response")) from None
