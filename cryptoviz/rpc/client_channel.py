"""The client's gRPC channel: adds the token to every call and maps gRPC errors to CryptoVizError."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import grpc

from cryptoviz.errors import EngineUnavailable, SettingsError
from cryptoviz.rpc.channel import AUTHORIZATION, CHANNEL_OPTIONS
from cryptoviz.rpc.error_map import from_wire

__all__ = ["ClientChannel", "StubType"]


class StubType(Protocol):
    """The class of a generated stub."""

    def __call__(self, channel: grpc.Channel) -> Any:
        """Create a stub on `channel`."""


class ClientChannel:
    """Connects at the first call; thread-safe. Takes the arguments of `cryptoviz.client.ControlClient`."""

    def __init__(self, address: str, token: str | None, token_file: Path | None, root_certificates: Path | None, timeout_s: float) -> None:
        self.address = address
        self._token = token
        self._token_file = token_file
        self._root_certificates = root_certificates
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None

    def call(self, stub: StubType, method: str, request: Any, timeout_s: float | None = None) -> Any:
        """A unary call with a deadline of `timeout_s` seconds (default: the client's). Raises the errors of `ControlClient`."""
        try:
            return getattr(stub(self._connected()), method)(request, timeout=timeout_s or self._timeout_s, metadata=self._metadata())
        except grpc.RpcError as error:
            raise from_wire(error, self.address) from None

    def stream(self, stub: StubType, method: str, request: Any, timeout_s: float | None) -> Iterator[Any]:
        """A server stream. Raises as `call`, also between two responses."""
        try:
            call = getattr(stub(self._connected()), method)(request, timeout=timeout_s, metadata=self._metadata())
        except grpc.RpcError as error:
            raise from_wire(error, self.address) from None
        try:
            yield from call
        except grpc.RpcError as error:
            raise from_wire(error, self.address) from None
        finally:
            call.cancel()

    def close(self) -> None:
        """Close the connection. A later call reconnects."""
        with self._lock:
            if self._channel is not None:
                self._channel.close()
                self._channel = None

    def _connected(self) -> grpc.Channel:
        with self._lock:
            if self._channel is None:
                if self._root_certificates is None:
                    self._channel = grpc.insecure_channel(self.address, options=CHANNEL_OPTIONS)
                else:
                    roots = grpc.ssl_channel_credentials(self._read_certificates(self._root_certificates))
                    self._channel = grpc.secure_channel(self.address, roots, options=CHANNEL_OPTIONS)
            return self._channel

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        token = self._token or self._read_token()
        if not (token.isascii() and token.isprintable()):
            raise SettingsError("the token of the control service has characters that no token has", setting="CRYPTOVIZ_HOME")
        return ((AUTHORIZATION, f"Bearer {token}"),)

    @staticmethod
    def _read_certificates(path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise SettingsError(f"cannot read the certificates {path}: {error.strerror}", setting="CRYPTOVIZ_CONTROL__TLS_CERT") from None

    def _read_token(self) -> str:
        # Read for each call: a `reset` replaces the token, and the file has 64 bytes.
        if self._token_file is None:
            raise SettingsError("the control service requires a token; pass token or token_file", setting="CRYPTOVIZ_HOME")
        try:
            return self._token_file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            hint = f"no pipeline has run with this home ({self._token_file} does not exist); start it with `cryptoviz up` or `cryptoviz demo`"
            raise EngineUnavailable(hint, engine="control", address=self.address) from None
        except (OSError, ValueError) as error:
            raise SettingsError(f"cannot read the token file {self._token_file}: {error}", setting="CRYPTOVIZ_HOME") from None
