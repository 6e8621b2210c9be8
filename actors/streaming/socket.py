"""The connection to a venue: the only module that knows the WebSocket library."""

from __future__ import annotations

import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.frames import Frame

from cryptoviz.errors import TransientError

__all__ = ["OpenSocket", "Socket", "SocketClosed", "open_socket"]

_PING_S = 20.0
"""A connection that does not answer our ping within this time is half-open. Both venues' and our own pings keep proxies from closing it."""
_QUEUED_FRAMES = 256
"""Frames that the library reads ahead. Above them it stops reading, so that the venue feels our back-pressure."""
_CLOSE_S = 2.0


class SocketClosed(TransientError):
    """A connection to a venue could not be opened or has ended; `code` is the venue's close code, 0 without one."""

    code: int = 0


class Socket(Protocol):
    """An open connection."""

    @property
    def heard_s(self) -> float:
        """Monotonic time of the last frame of any kind, also a ping of the venue."""

    async def send(self, text: str) -> None:
        """Raises SocketClosed."""

    async def receive(self) -> str | bytes:
        """The next message, in order. Raises SocketClosed; ends at once when it is cancelled, without losing a message."""

    async def close(self) -> None:
        """Say goodbye within 2 s; never raises."""


OpenSocket = Callable[[str, float, int], Awaitable[Socket]]
"""(address, seconds until it is open, most bytes of a message) to a connection. Raises SocketClosed."""


async def open_socket(url: str, timeout_s: float, frame_bytes: int, trust: ssl.SSLContext) -> Socket:
    """Connect. `trust`: certificate authorities for a wss:// address.

    Raises:
        SocketClosed: the venue does not answer in time, or refuses.
    """
    try:
        connection = await connect(
            url,
            create_connection=_Listening,
            open_timeout=timeout_s,
            ping_interval=_PING_S,
            ping_timeout=_PING_S,
            close_timeout=_CLOSE_S,
            max_size=frame_bytes,
            max_queue=_QUEUED_FRAMES,
            compression=None,
            proxy=None,
            user_agent_header="cryptoviz",
            ssl=trust if urlsplit(url).scheme == "wss" else None,
        )
    except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed) as error:
        raise SocketClosed(f"no connection to {urlsplit(url).netloc}: {type(error).__name__}: {error}") from None
    return _Socket(connection)


class _Listening(ClientConnection):
    """Notes when a frame arrived: pings of a venue that is quiet prove that the connection lives."""

    heard_s = 0.0

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame):
            self.heard_s = time.monotonic()
        super().process_event(event)


class _Socket:
    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._opened_s = time.monotonic()

    @property
    def heard_s(self) -> float:
        return max(self._opened_s, float(self._connection.heard_s))

    async def send(self, text: str) -> None:
        try:
            await self._connection.send(text)
        except ConnectionClosed as error:
            raise _closed(error) from None

    async def receive(self) -> str | bytes:
        try:
            message: str | bytes = await self._connection.recv()
        except ConnectionClosed as error:
            raise _closed(error) from None
        return message

    async def close(self) -> None:
        await self._connection.close()


def _closed(error: ConnectionClosed) -> SocketClosed:
    received = error.rcvd or error.sent
    code = received.code if received else 0
    reason = f" {received.reason}" if received and received.reason else ""
    return SocketClosed(f"the connection ended: {f'code {code}{reason}' if received else 'without a close frame'}", code=code)
