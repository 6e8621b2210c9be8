"""A connection to a venue by websockets, which this project used before picows; for `bench.stream_sockets` only."""

from __future__ import annotations

import importlib
import ssl
import time
from typing import Any

from actors.streaming.socket import Socket, SocketClosed

__all__ = ["available", "open_websockets"]


def available() -> str:
    """The version that is installed; empty without websockets."""
    try:
        return str(importlib.import_module("websockets").__version__)
    except ImportError:
        return ""


async def open_websockets(url: str, timeout_s: float, frame_bytes: int, trust: ssl.SSLContext) -> Socket:
    """As `actors.streaming.socket.open_socket`."""
    client: Any = importlib.import_module("websockets.asyncio.client")
    frames: Any = importlib.import_module("websockets.frames")
    ended: Any = importlib.import_module("websockets.exceptions").ConnectionClosed

    class Listening(client.ClientConnection):  # type: ignore[misc]
        """Notes when a frame arrived."""

        heard_s = 0.0

        def process_event(self, event: Any) -> None:
            if isinstance(event, frames.Frame):
                self.heard_s = time.monotonic()
            super().process_event(event)

    class Opened:
        def __init__(self, connection: Any) -> None:
            self._connection = connection
            self._opened_s = time.monotonic()

        @property
        def heard_s(self) -> float:
            return max(self._opened_s, float(self._connection.heard_s))

        async def send(self, text: str) -> None:
            await self._connection.send(text)

        async def receive(self) -> str | bytes:
            try:
                message: str | bytes = await self._connection.recv()
            except ended as error:
                raise SocketClosed(str(error)) from None
            return message

        async def close(self) -> None:
            await self._connection.close()

    connection = await client.connect(
        url,
        create_connection=Listening,
        open_timeout=timeout_s,
        close_timeout=2.0,
        max_size=frame_bytes,
        max_queue=256,
        compression=None,
        proxy=None,
        ssl=trust,
    )
    return Opened(connection)
