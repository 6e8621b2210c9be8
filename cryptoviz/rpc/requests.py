"""The calls of `ControlService` and `GapsService`: request, response and several calls in a row, for the blocking and the async client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from cryptoviz.components import ComponentStatus
from cryptoviz.control.v1 import control_pb2 as pb
from cryptoviz.control.v1 import gaps_pb2 as gaps_pb
from cryptoviz.control.v1.control_pb2_grpc import ControlServiceStub
from cryptoviz.control.v1.gaps_pb2_grpc import GapsServiceStub
from cryptoviz.gaps import Gap
from cryptoviz.provider_status import ProviderStatus
from cryptoviz.rpc.client_channel import Flow, Rpc, Stream, ask
from cryptoviz.rpc.convert import MethodCalls, calls_from_proto, component_from_proto, pipeline_from_proto, stamp
from cryptoviz.rpc.convert_gaps import gap_from_proto
from cryptoviz.rpc.convert_providers import provider_from_proto
from cryptoviz.rpc.pipeline_status import PipelineStatus

__all__ = [
    "LogTail",
    "PipelineWatch",
    "list_call_metrics",
    "list_components",
    "list_gaps",
    "list_providers",
    "of_component",
    "of_pipeline",
    "of_provider",
]

T = TypeVar("T")

_READ_TIMEOUT_S = 60.0
"""Reading the lake starts a process; this covers a machine at full load."""


def list_components() -> Rpc[PipelineStatus]:
    """All components."""
    return _control("ListComponents", _pipeline)


def list_call_metrics() -> Rpc[list[MethodCalls]]:
    """Metrics of the service's calls."""
    return _control("ListCallMetrics", calls_from_proto)


def of_component(method: str, name: str) -> Rpc[ComponentStatus]:
    """A call that takes a component and returns it."""
    return _control(method, lambda response: component_from_proto(response.component), name=name)


def of_pipeline(method: str, **fields: bool) -> Flow[PipelineStatus]:
    """A call that takes the pipeline by its id and returns it."""
    pipeline = yield from ask(list_components())
    return (yield from ask(_control(method, _pipeline, pipeline_id=pipeline.id, **fields)))


def list_providers() -> Rpc[list[ProviderStatus]]:
    """All providers."""
    return _control("ListProviders", lambda response: [provider_from_proto(one) for one in response.providers])


def of_provider(method: str, name: str, **fields: str) -> Rpc[ProviderStatus]:
    """A call that takes a provider and returns it."""
    return _control(method, lambda response: provider_from_proto(response.provider), name=name, **fields)


def list_gaps(subjects: Sequence[str], start_ms: int | None, end_ms: int | None, *, of_providers: bool, with_filled: bool) -> Flow[list[Gap]]:
    """All pages of the gap ledger."""
    scope = gaps_pb.GAP_SCOPE_PROVIDER if of_providers else gaps_pb.GAP_SCOPE_ASSET
    found: list[Gap] = []
    while True:
        request = gaps_pb.ListGapsRequest(
            scope=scope, subjects=subjects, start=stamp(start_ms), end=stamp(end_ms), with_filled=with_filled
        )  # fmt: skip
        answer = yield from ask(Rpc(GapsServiceStub, "ListGaps", request, lambda response: response, _READ_TIMEOUT_S))
        page = [gap_from_proto(one) for one in answer.gaps]
        known = set(found)
        older = [gap for gap in page if gap not in known]
        found = older + found
        if len(page) >= answer.total or not older:
            return found
        # A response has the newest gaps: the next page ends with gaps that start at the same tick as the oldest of this page.
        end_ms = page[0].from_ms + 1


class PipelineWatch(Stream[PipelineStatus]):
    """WatchPipeline. Resumes after the version of the last status."""

    stub = ControlServiceStub
    method = "WatchPipeline"

    def __init__(self, after_version: int) -> None:
        self._version = after_version

    def request(self) -> pb.WatchPipelineRequest:
        return pb.WatchPipelineRequest(after_version=self._version)

    def take(self, response: pb.WatchPipelineResponse) -> Iterable[PipelineStatus]:
        pipeline = _pipeline(response)
        self._version = pipeline.version
        return (pipeline,)


class LogTail(Stream[str]):
    """TailLogs. Resumes after the last line; without `follow`, not once it has delivered lines."""

    stub = ControlServiceStub
    method = "TailLogs"

    def __init__(self, name: str, lines: int, *, follow: bool) -> None:
        self._request = pb.TailLogsRequest(name=name, lines=lines, follow=follow)

    def request(self) -> pb.TailLogsRequest:
        return self._request

    def take(self, response: pb.TailLogsResponse) -> Iterable[str]:
        # The last of the first responses has the first position; a service of an earlier version has none.
        self._request.after = response.position
        self.resumable = bool(response.position)
        return response.lines


def _control(method: str, read: Callable[[Any], T], **fields: str | bool) -> Rpc[T]:
    return Rpc(ControlServiceStub, method, getattr(pb, f"{method}Request")(**fields), read)


def _pipeline(response: Any) -> PipelineStatus:
    return pipeline_from_proto(response.pipeline)
