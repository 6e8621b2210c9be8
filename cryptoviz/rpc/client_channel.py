"""The client's gRPC channel, blocking and async: adds token and deadline to every call, repeats it by `Retry`, maps errors to CryptoVizError."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import grpc

from cryptoviz.errors import ControlRefused, EngineUnavailable, SettingsError
from cryptoviz.rpc.channel import AUTHORIZATION, CHANNEL_OPTIONS
from cryptoviz.rpc.retry import Attempts, Retry

__all__ = ["AsyncClientChannel", "ClientChannel", "ClientOptions", "Flow", "Rpc", "Stream", "StubType", "ask"]

T = TypeVar("T")


class StubType(Protocol):
    """The class of a generated stub."""

    def __call__(self, channel: Any) -> Any:
        """Create a stub on `channel`."""


@dataclass(frozen=True, slots=True)
class Rpc(Generic[T]):
    """A unary call.

    Attributes:
        read: the result, from the response.
        timeout_s: deadline in seconds; None for the client's.
        idempotent: may be repeated when the service did not answer.
    """

    stub: StubType
    method: str
    request: Any
    read: Callable[[Any], T]
    timeout_s: float | None = None
    idempotent: bool = True


Flow: TypeAlias = Generator[Rpc[Any], Any, T]
"""A method of several calls, for both kinds of channel: yields each call, receives its result, returns its own."""


def ask(rpc: Rpc[T]) -> Flow[T]:
    """One call of a flow, by `yield from`."""
    result: T = yield rpc
    return result


class Stream(ABC, Generic[T]):
    """A server stream, with the position that it has reached.

    Attributes:
        resumable: `request` continues after the last item.
        over: the last response was the last one.
    """

    stub: StubType
    method: str
    resumable = True
    over = False

    @abstractmethod
    def request(self) -> Any:
        """The request for what follows."""

    @abstractmethod
    def take(self, response: Any) -> Iterable[T]:
        """The items of a response."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """The arguments of `cryptoviz.client.ControlClient`."""

    address: str
    token: str | None
    token_file: Path | None
    root_certificates: Path | None
    timeout_s: float
    retry: Retry | None
    client_certificate: Path | None = None
    client_key: Path | None = None

    def metadata(self) -> tuple[tuple[str, str], ...]:
        token = self.token or self._read_token()
        if not (token.isascii() and token.isprintable()):
            raise SettingsError("the token of the control service has characters that no token has", setting="CRYPTOVIZ_HOME")
        return ((AUTHORIZATION, f"Bearer {token}"),)

    def channel(self, kind: Any) -> Any:
        """A channel of `grpc` or `grpc.aio`."""
        if self.root_certificates is None:
            return kind.insecure_channel(self.address, options=CHANNEL_OPTIONS)
        credentials = grpc.ssl_channel_credentials(
            _pem(self.root_certificates, "TLS_CERT"), _pem(self.client_key, "TLS_CLIENT_KEY"), _pem(self.client_certificate, "TLS_CLIENT_CERT")
        )
        return kind.secure_channel(self.address, credentials, options=CHANNEL_OPTIONS)

    def attempts_of(self, rpc: Rpc[Any]) -> Attempts:
        return Attempts(self.address, self.retry, rpc.timeout_s or self.timeout_s)

    def _read_token(self) -> str:
        # Read for each call: a `reset` replaces the token, and the file has 64 bytes.
        if self.token_file is None:
            raise SettingsError("the control service requires a token; pass token or token_file", setting="CRYPTOVIZ_HOME")
        try:
            return self.token_file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            hint = f"no pipeline has run with this home ({self.token_file} does not exist); start it with `cryptoviz up` or `cryptoviz demo`"
            raise EngineUnavailable(hint, engine="control", address=self.address) from None
        except (OSError, ValueError) as error:
            raise SettingsError(f"cannot read the token file {self.token_file}: {error}", setting="CRYPTOVIZ_HOME") from None


def _pem(path: Path | None, setting: str) -> bytes | None:
    try:
        return path.read_bytes() if path is not None else None
    except OSError as error:
        raise SettingsError(f"cannot read the certificates {path}: {error.strerror}", setting=f"CRYPTOVIZ_CONTROL__{setting}") from None


class ClientChannel:
    """Connects at the first call; thread-safe."""

    def __init__(self, options: ClientOptions) -> None:
        self.options = options
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._closed = threading.Event()

    def call(self, rpc: Rpc[T]) -> T:
        """The result of a unary call. Raises the errors of `ControlClient`."""
        attempts, closed = self.options.attempts_of(rpc), self._closed
        while True:
            try:
                return rpc.read(self._method(rpc)(rpc.request, timeout=attempts.begin(), metadata=self.options.metadata()))
            except grpc.RpcError as error:
                wait_s = attempts.wait_s(error, repeatable=rpc.idempotent)
            if closed.wait(wait_s):
                raise _closed_error()

    def run(self, flow: Flow[T]) -> T:
        """The result of several calls. Raises as `call`."""
        result: Any = None
        while True:
            try:
                rpc = flow.send(result)
            except StopIteration as end:
                returned: T = end.value
                return returned
            result = self.call(rpc)

    def stream(self, stream: Stream[T], timeout_s: float | None) -> Generator[T, None, None]:
        """The items of a server stream. Raises as `call`, also between two items."""
        attempts, closed = Attempts(self.options.address, self.options.retry, timeout_s, stream=True), self._closed
        while True:
            call = None
            try:
                call = self._method(stream)(stream.request(), timeout=attempts.begin(), metadata=self.options.metadata())
                for response in call:
                    attempts.connected()
                    yield from stream.take(response)
                    if stream.over:
                        return
            except grpc.RpcError as error:
                wait_s = attempts.wait_s(error, repeatable=stream.resumable)
            else:
                return
            finally:
                if call is not None:
                    call.cancel()
            if closed.wait(wait_s):
                raise _closed_error()

    def close(self) -> None:
        """Close the connection, which ends running calls and streams. A later call reconnects."""
        with self._lock:
            self._closed.set()
            self._closed = threading.Event()
            if self._channel is not None:
                self._channel.close()
                self._channel = None

    def _method(self, call: Rpc[Any] | Stream[Any]) -> Any:
        with self._lock:
            if self._channel is None:
                self._channel = self.options.channel(grpc)
            return getattr(call.stub(self._channel), call.method)


class AsyncClientChannel:
    """As `ClientChannel`. Connects at the first call, in the running event loop; for the tasks of that loop."""

    def __init__(self, options: ClientOptions) -> None:
        self.options = options
        self._channel: Any = None
        self._closed = asyncio.Event()

    async def call(self, rpc: Rpc[T]) -> T:
        attempts, closed = self.options.attempts_of(rpc), self._closed
        while True:
            try:
                return rpc.read(await self._method(rpc)(rpc.request, timeout=attempts.begin(), metadata=self.options.metadata()))
            except grpc.RpcError as error:
                wait_s = attempts.wait_s(error, repeatable=rpc.idempotent)
            except asyncio.CancelledError as cancelled:
                raise _cancelled(cancelled, closed) from None
            await _pause(closed, wait_s)

    async def run(self, flow: Flow[T]) -> T:
        result: Any = None
        while True:
            try:
                rpc = flow.send(result)
            except StopIteration as end:
                returned: T = end.value
                return returned
            result = await self.call(rpc)

    async def stream(self, stream: Stream[T], timeout_s: float | None) -> AsyncGenerator[T, None]:
        attempts, closed = Attempts(self.options.address, self.options.retry, timeout_s, stream=True), self._closed
        while True:
            call = None
            try:
                call = self._method(stream)(stream.request(), timeout=attempts.begin(), metadata=self.options.metadata())
                async for response in call:
                    attempts.connected()
                    for item in stream.take(response):
                        yield item
                    if stream.over:
                        return
            except grpc.RpcError as error:
                wait_s = attempts.wait_s(error, repeatable=stream.resumable)
            except asyncio.CancelledError as cancelled:
                raise _cancelled(cancelled, closed) from None
            else:
                return
            finally:
                if call is not None:
                    call.cancel()
            await _pause(closed, wait_s)

    async def close(self) -> None:
        self._closed.set()
        self._closed = asyncio.Event()
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _method(self, call: Rpc[Any] | Stream[Any]) -> Any:
        if self._channel is None:
            self._channel = self.options.channel(grpc.aio)
        return getattr(call.stub(self._channel), call.method)


async def _pause(closed: asyncio.Event, wait_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            await closed.wait()
        raise _closed_error()


def _closed_error() -> ControlRefused:
    return ControlRefused("CANCELLED: the client was closed during the call", code="CANCELLED")


def _cancelled(error: asyncio.CancelledError, closed: asyncio.Event) -> BaseException:
    """What a call that gRPC cancelled raises: it does so when its task is cancelled, and when the channel is closed."""
    task = asyncio.current_task()
    return _closed_error() if closed.is_set() and task is not None and not task.cancelling() else error
