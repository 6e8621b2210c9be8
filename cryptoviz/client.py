"""Python client of the gRPC control service. Used by the CLI, the dashboard and the examples.

with ControlClient.from_settings(load_settings()) as control:
    control.stop("scraper/coingecko")
    for pipeline in control.watch():
        print(pipeline.state, pipeline.reason)
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cryptoviz.components import ComponentState, ComponentStatus
from cryptoviz.control.v1 import control_pb2 as pb
from cryptoviz.control.v1 import gaps_pb2 as gaps_pb
from cryptoviz.control.v1.control_pb2_grpc import ControlServiceStub
from cryptoviz.control.v1.gaps_pb2_grpc import GapsServiceStub
from cryptoviz.errors import EngineUnavailable
from cryptoviz.gaps import Gap
from cryptoviz.provider_status import ProviderStatus
from cryptoviz.rpc.client_channel import ClientChannel
from cryptoviz.rpc.convert import component_from_proto, pipeline_from_proto
from cryptoviz.rpc.convert_gaps import gap_from_proto
from cryptoviz.rpc.convert_providers import provider_from_proto
from cryptoviz.rpc.pipeline_status import PipelineStatus
from cryptoviz.rpc.timestamps import stamp

if TYPE_CHECKING:
    from cryptoviz.operations_client import OperationsClient
    from cryptoviz.settings import Settings

__all__ = ["ControlClient", "PipelineStatus"]

_DEFAULT_TIMEOUT_S = 5.0
"""Calls take milliseconds, since they only edit the desired state; this covers a machine at full load."""

_READ_TIMEOUT_S = 60.0
"""Reading the lake starts a process; this covers a machine at full load."""


class ControlClient:
    """Client of the control service. Thread-safe; connects at the first call.

    Args:
        address: `host:port` of the service.
        token: bearer token. If None, it is read from `token_file`.
        token_file: file written by the service at its first start (`settings.token_file`).
        root_certificates: PEM file to verify the service; None means plain text, which the service allows only on loopback.
        timeout_s: deadline of each unary call, in seconds. Streams have no default deadline.

    Every method raises:
        EngineUnavailable: the service does not answer in time. All calls are idempotent and can be repeated.
        UnknownComponent: unknown component; the message lists the valid names.
        InvalidRequest: invalid argument; a ControlRefused.
        ControlRefused: wrong token, not possible in the current state, or a response of a later version; `code` is the gRPC status name.
        SettingsError: the token file or the certificates are missing or not readable.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        token_file: Path | None = None,
        root_certificates: Path | None = None,
        timeout_s: float = _DEFAULT_TIMEOUT_S,
    ) -> None:
        self._channel = ClientChannel(address, token, token_file, root_certificates, timeout_s)

    @classmethod
    def from_settings(cls, settings: Settings, *, timeout_s: float = _DEFAULT_TIMEOUT_S) -> ControlClient:
        """A client with address, token and certificate from the settings."""
        control = settings.control
        return cls(control.address, token_file=settings.token_file, root_certificates=control.tls_cert, timeout_s=timeout_s)

    @property
    def address(self) -> str:
        """`host:port` of the service."""
        return self._channel.address

    @property
    def operations(self) -> OperationsClient:
        """Client for backfill, replay and maintenance, on the same connection."""
        from cryptoviz.operations_client import OperationsClient  # not for `status`: its argument models cost as much as the settings' sections

        return OperationsClient(self._channel)

    def list(self) -> PipelineStatus:
        """The status of the pipeline and all components."""
        return pipeline_from_proto(self._call("ListComponents", pb.ListComponentsRequest()).pipeline)

    def get(self, name: str) -> ComponentStatus:
        """The status of one component."""
        return component_from_proto(self._call("GetComponent", pb.GetComponentRequest(name=name)).component)

    def start(self, name: str) -> ComponentStatus:
        """Enable a component and its dependencies. Returns at once with the current status."""
        return component_from_proto(self._call("StartComponent", pb.StartComponentRequest(name=name)).component)

    def stop(self, name: str) -> ComponentStatus:
        """Disable a component. Returns at once with the current status."""
        return component_from_proto(self._call("StopComponent", pb.StopComponentRequest(name=name)).component)

    def restart(self, name: str) -> ComponentStatus:
        """Restart a component. Returns at once with the current status."""
        return component_from_proto(self._call("RestartComponent", pb.RestartComponentRequest(name=name)).component)

    def start_pipeline(self) -> PipelineStatus:
        """Enable every component. Returns at once."""
        return pipeline_from_proto(self._call("StartPipeline", pb.StartPipelineRequest(pipeline_id=self.list().id)).pipeline)

    def stop_pipeline(self) -> PipelineStatus:
        """Disable every component; the control service keeps running. Returns at once."""
        return pipeline_from_proto(self._call("StopPipeline", pb.StopPipelineRequest(pipeline_id=self.list().id)).pipeline)

    def shutdown(self) -> PipelineStatus:
        """Stop every component, then the control service. Returns at once; `watch` shows the progress and then raises EngineUnavailable."""
        return pipeline_from_proto(self._call("Shutdown", pb.ShutdownRequest(pipeline_id=self.list().id)).pipeline)

    def watch(self, after_version: int = 0, *, timeout_s: float | None = None) -> Iterator[PipelineStatus]:
        """The current status, then each change.

        Args:
            after_version: `version` of the last status seen, to resume; 0 starts with the current status.
            timeout_s: deadline in seconds, then EngineUnavailable; None for no deadline.
        """
        request = pb.WatchPipelineRequest(after_version=after_version)
        for response in self._stream("WatchPipeline", request, timeout_s):
            yield pipeline_from_proto(response.pipeline)

    def tail_logs(self, name: str, lines: int = 100, *, follow: bool = False, timeout_s: float | None = None) -> Iterator[str]:
        """The last `lines` lines of a component's log without line breaks; with `follow`, then new lines."""
        request = pb.TailLogsRequest(name=name, lines=lines, follow=follow)
        for response in self._stream("TailLogs", request, timeout_s):
            yield from response.lines

    def providers(self) -> builtins.list[ProviderStatus]:
        """The status of all configured providers, in order of preference."""
        return [provider_from_proto(one) for one in self._call("ListProviders", pb.ListProvidersRequest()).providers]

    def provider(self, name: str) -> ProviderStatus:
        """The status of one provider."""
        return provider_from_proto(self._call("GetProvider", pb.GetProviderRequest(name=name)).provider)

    def trip_breaker(self, name: str, reason: str = "") -> ProviderStatus:
        """Open a provider's breaker: no more polls until `reset_breaker`."""
        return provider_from_proto(self._call("TripBreaker", pb.TripBreakerRequest(name=name, reason=reason)).provider)

    def reset_breaker(self, name: str) -> ProviderStatus:
        """Close a provider's breaker and clear a hold that the provider imposed."""
        return provider_from_proto(self._call("ResetBreaker", pb.ResetBreakerRequest(name=name)).provider)

    def gaps(
        self,
        subjects: Sequence[str] = (),
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        of_providers: bool = False,
        with_filled: bool = False,
    ) -> builtins.list[Gap]:
        """All gaps of assets (ids or symbols) or of providers, in order of time. Times are UTC epoch ms."""
        scope = gaps_pb.GAP_SCOPE_PROVIDER if of_providers else gaps_pb.GAP_SCOPE_ASSET
        found: builtins.list[Gap] = []
        while True:
            request = gaps_pb.ListGapsRequest(
                scope=scope, subjects=subjects, start=stamp(start_ms), end=stamp(end_ms), with_filled=with_filled
            )  # fmt: skip
            answer = self._channel.call(GapsServiceStub, "ListGaps", request, _READ_TIMEOUT_S)
            page = [gap_from_proto(one) for one in answer.gaps]
            known = set(found)
            older = [gap for gap in page if gap not in known]
            found = older + found
            if len(page) >= answer.total or not older:
                return found
            # A response has the newest gaps: the next page ends with gaps that start at the same tick as the oldest of this page.
            end_ms = page[0].from_ms + 1

    def wait(self, timeout_s: float, until: Callable[[PipelineStatus], bool]) -> PipelineStatus:
        """Watch until `until` returns True. Raises EngineUnavailable after `timeout_s` seconds."""
        for pipeline in self.watch(timeout_s=timeout_s):
            if until(pipeline):
                return pipeline
        raise EngineUnavailable(f"the control service at {self._channel.address} ended the watch", engine="control", address=self._channel.address)

    def wait_stopped(self, timeout_s: float = 30.0) -> PipelineStatus:
        """Watch until all components are STOPPED, as after `stop_pipeline` and `shutdown`."""
        return self.wait(timeout_s, lambda pipeline: all(one.state is ComponentState.STOPPED for one in pipeline.components))

    def close(self) -> None:
        """Close the connection. A later call reconnects."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _call(self, method: str, request: Any) -> Any:
        return self._channel.call(ControlServiceStub, method, request)

    def _stream(self, method: str, request: Any, timeout_s: float | None) -> Iterator[Any]:
        return self._channel.stream(ControlServiceStub, method, request, timeout_s)
