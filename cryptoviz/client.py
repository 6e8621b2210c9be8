"""Python clients of the gRPC control service, blocking and async. Used by the CLI, the dashboard and the examples.

with ControlClient.from_settings(load_settings()) as control:
    control.stop("scraper/coingecko")
    for pipeline in control.watch():
        print(pipeline.state, pipeline.reason)

async with AsyncControlClient.from_settings(load_settings()) as control:
    await control.stop("scraper/coingecko")
    async for pipeline in control.watch():
        print(pipeline.state, pipeline.reason)
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from cryptoviz.components import ComponentState, ComponentStatus
from cryptoviz.errors import EngineUnavailable
from cryptoviz.gaps import Gap
from cryptoviz.provider_status import ProviderStatus
from cryptoviz.rpc import requests
from cryptoviz.rpc.client_channel import AsyncClientChannel, ClientChannel, ClientOptions
from cryptoviz.rpc.convert import MethodCalls
from cryptoviz.rpc.pipeline_status import PipelineStatus
from cryptoviz.rpc.retry import Retry

if TYPE_CHECKING:
    from cryptoviz.operations_client import AsyncOperationsClient, OperationsClient
    from cryptoviz.settings import Settings

__all__ = ["AsyncControlClient", "ControlClient", "PipelineStatus", "Retry"]

C = TypeVar("C", ClientChannel, AsyncClientChannel)

_DEFAULT_TIMEOUT_S = 5.0
"""Calls take milliseconds, since they only edit the desired state; this covers a machine at full load."""


class _Client(Generic[C]):
    """Constructors of both clients."""

    _channel_type: type[C]

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        token_file: Path | None = None,
        root_certificates: Path | None = None,
        timeout_s: float = _DEFAULT_TIMEOUT_S,
        retry: Retry | None = Retry(),  # noqa: B008 (immutable)
        client_certificate: Path | None = None,
        client_key: Path | None = None,
    ) -> None:
        options = ClientOptions(address, token, token_file, root_certificates, timeout_s, retry, client_certificate, client_key)
        self._channel: C = self._channel_type(options)

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        address: str | None = None,
        token: str | None = None,
        token_file: Path | None = None,
        timeout_s: float = _DEFAULT_TIMEOUT_S,
        retry: Retry | None = Retry(),  # noqa: B008 (immutable)
    ) -> Self:
        """A client with address, token and certificates from the settings, except for those that are given."""
        control = settings.control
        return cls(
            address or control.address,
            token=token,
            token_file=token_file or settings.token_file,
            root_certificates=control.tls_cert,
            timeout_s=timeout_s,
            retry=retry,
            client_certificate=control.tls_client_cert,
            client_key=control.tls_client_key,
        )

    @property
    def address(self) -> str:
        """`host:port` of the service."""
        return self._channel.options.address

    def _ended(self) -> EngineUnavailable:
        return EngineUnavailable(f"the control service at {self.address} ended the watch", engine="control", address=self.address)


class ControlClient(_Client[ClientChannel]):
    """Blocking client of the control service. Thread-safe; connects at the first call.

    Args:
        address: `host:port` of the service.
        token: bearer token. If None, it is read from `token_file`.
        token_file: file written by the service at its first start (`settings.token_file`).
        root_certificates: PEM file to verify the service; None means plain text, which the service allows only on loopback.
        timeout_s: deadline of each unary call with its repetitions, in seconds. Streams have no default deadline.
        retry: when calls are repeated and streams reconnect; None: never. A stream that reconnects resumes after what it has delivered.
        client_certificate, client_key: PEM files to present, for a service that requires them (`tls_client_ca`); only with `root_certificates`.

    Every method raises:
        EngineUnavailable: the service does not answer in time. All calls are idempotent and can be repeated.
        UnknownComponent: unknown component; the message lists the valid names.
        InvalidRequest: invalid argument; a ControlRefused.
        ControlRefused: wrong token or role, not possible in the current state, or a response of a later version; `code` is the gRPC status name.
        SettingsError: the token file or the certificates are missing or not readable.
    """

    _channel_type = ClientChannel

    @property
    def operations(self) -> OperationsClient:
        """Client for backfill, replay and maintenance, on the same connection."""
        from cryptoviz.operations_client import OperationsClient  # not for `status`: its argument models cost as much as the settings' sections

        return OperationsClient(self._channel)

    def list(self) -> PipelineStatus:
        """The status of the pipeline and all components."""
        return self._channel.call(requests.list_components())

    def get(self, name: str) -> ComponentStatus:
        """The status of one component."""
        return self._channel.call(requests.of_component("GetComponent", name))

    def start(self, name: str) -> ComponentStatus:
        """Enable a component and its dependencies. Returns at once with the current status."""
        return self._channel.call(requests.of_component("StartComponent", name))

    def stop(self, name: str) -> ComponentStatus:
        """Disable a component. Returns at once with the current status."""
        return self._channel.call(requests.of_component("StopComponent", name))

    def restart(self, name: str) -> ComponentStatus:
        """Restart a component. Returns at once with the current status."""
        return self._channel.call(requests.of_component("RestartComponent", name))

    def start_pipeline(self, *, keep_stopped: bool = False) -> PipelineStatus:
        """Enable every component; with `keep_stopped`, only those that no call has disabled. Returns at once."""
        return self._channel.run(requests.of_pipeline("StartPipeline", keep_stopped=keep_stopped))

    def stop_pipeline(self) -> PipelineStatus:
        """Disable every component; the control service keeps running. Returns at once."""
        return self._channel.run(requests.of_pipeline("StopPipeline"))

    def shutdown(self) -> PipelineStatus:
        """Stop every component, then the control service. Returns at once; `watch` shows the progress and then raises EngineUnavailable."""
        return self._channel.run(requests.of_pipeline("Shutdown"))

    def watch(self, after_version: int = 0, *, timeout_s: float | None = None) -> Generator[PipelineStatus, None, None]:
        """The current status, then each change.

        Args:
            after_version: `version` of the last status seen, to resume; 0 starts with the current status.
            timeout_s: deadline in seconds, then EngineUnavailable; None for no deadline.
        """
        return self._channel.stream(requests.PipelineWatch(after_version), timeout_s)

    def tail_logs(self, name: str, lines: int = 100, *, follow: bool = False, timeout_s: float | None = None) -> Generator[str, None, None]:
        """The last `lines` lines of a component's log without line breaks; with `follow`, then new lines."""
        return self._channel.stream(requests.LogTail(name, lines, follow=follow), timeout_s)

    def providers(self) -> builtins.list[ProviderStatus]:
        """The status of all configured providers, in order of preference."""
        return self._channel.call(requests.list_providers())

    def provider(self, name: str) -> ProviderStatus:
        """The status of one provider."""
        return self._channel.call(requests.of_provider("GetProvider", name))

    def trip_breaker(self, name: str, reason: str = "") -> ProviderStatus:
        """Open a provider's breaker: no more polls until `reset_breaker`."""
        return self._channel.call(requests.of_provider("TripBreaker", name, reason=reason))

    def reset_breaker(self, name: str) -> ProviderStatus:
        """Close a provider's breaker and clear a hold that the provider imposed."""
        return self._channel.call(requests.of_provider("ResetBreaker", name))

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
        return self._channel.run(requests.list_gaps(subjects, start_ms, end_ms, of_providers=of_providers, with_filled=with_filled))

    def call_metrics(self) -> builtins.list[MethodCalls]:
        """Counts and latencies of the service's calls since it started, by method."""
        return self._channel.call(requests.list_call_metrics())

    def wait(self, timeout_s: float, until: Callable[[PipelineStatus], bool]) -> PipelineStatus:
        """Watch until `until` returns True. Raises EngineUnavailable after `timeout_s` seconds."""
        for pipeline in self.watch(timeout_s=timeout_s):
            if until(pipeline):
                return pipeline
        raise self._ended()

    def wait_stopped(self, timeout_s: float = 30.0) -> PipelineStatus:
        """Watch until all components are STOPPED, as after `stop_pipeline` and `shutdown`."""
        return self.wait(timeout_s, _all_stopped)

    def close(self) -> None:
        """Close the connection. A later call reconnects."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class AsyncControlClient(_Client[AsyncClientChannel]):
    """Async client of the control service, for the tasks of one event loop; connects at the first call.

    Arguments, methods and errors are those of `ControlClient`; calls and `close` are awaited, streams are async iterators.
    """

    _channel_type = AsyncClientChannel

    @property
    def operations(self) -> AsyncOperationsClient:
        from cryptoviz.operations_client import AsyncOperationsClient  # as above

        return AsyncOperationsClient(self._channel)

    async def list(self) -> PipelineStatus:
        return await self._channel.call(requests.list_components())

    async def get(self, name: str) -> ComponentStatus:
        return await self._channel.call(requests.of_component("GetComponent", name))

    async def start(self, name: str) -> ComponentStatus:
        return await self._channel.call(requests.of_component("StartComponent", name))

    async def stop(self, name: str) -> ComponentStatus:
        return await self._channel.call(requests.of_component("StopComponent", name))

    async def restart(self, name: str) -> ComponentStatus:
        return await self._channel.call(requests.of_component("RestartComponent", name))

    async def start_pipeline(self, *, keep_stopped: bool = False) -> PipelineStatus:
        return await self._channel.run(requests.of_pipeline("StartPipeline", keep_stopped=keep_stopped))

    async def stop_pipeline(self) -> PipelineStatus:
        return await self._channel.run(requests.of_pipeline("StopPipeline"))

    async def shutdown(self) -> PipelineStatus:
        return await self._channel.run(requests.of_pipeline("Shutdown"))

    def watch(self, after_version: int = 0, *, timeout_s: float | None = None) -> AsyncGenerator[PipelineStatus, None]:
        return self._channel.stream(requests.PipelineWatch(after_version), timeout_s)

    def tail_logs(self, name: str, lines: int = 100, *, follow: bool = False, timeout_s: float | None = None) -> AsyncGenerator[str, None]:
        return self._channel.stream(requests.LogTail(name, lines, follow=follow), timeout_s)

    async def providers(self) -> builtins.list[ProviderStatus]:
        return await self._channel.call(requests.list_providers())

    async def provider(self, name: str) -> ProviderStatus:
        return await self._channel.call(requests.of_provider("GetProvider", name))

    async def trip_breaker(self, name: str, reason: str = "") -> ProviderStatus:
        return await self._channel.call(requests.of_provider("TripBreaker", name, reason=reason))

    async def reset_breaker(self, name: str) -> ProviderStatus:
        return await self._channel.call(requests.of_provider("ResetBreaker", name))

    async def gaps(
        self,
        subjects: Sequence[str] = (),
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        of_providers: bool = False,
        with_filled: bool = False,
    ) -> builtins.list[Gap]:
        return await self._channel.run(requests.list_gaps(subjects, start_ms, end_ms, of_providers=of_providers, with_filled=with_filled))

    async def call_metrics(self) -> builtins.list[MethodCalls]:
        return await self._channel.call(requests.list_call_metrics())

    async def wait(self, timeout_s: float, until: Callable[[PipelineStatus], bool]) -> PipelineStatus:
        async with aclosing(self.watch(timeout_s=timeout_s)) as watch:
            async for pipeline in watch:
                if until(pipeline):
                    return pipeline
        raise self._ended()

    async def wait_stopped(self, timeout_s: float = 30.0) -> PipelineStatus:
        return await self.wait(timeout_s, _all_stopped)

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


def _all_stopped(pipeline: PipelineStatus) -> bool:
    return all(one.state is ComponentState.STOPPED for one in pipeline.components)
