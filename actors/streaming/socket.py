"""The connection to a venue: the only module that knows the WebSocket library."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

from picows import (
    WSAutoPingStrategy,
    WSCloseCode,
    WSError,
    WSFrame,
    WSListener,
    WSMsgType,
    WSProtocolError,
    WSTransport,
    ws_connect,
)

from cryptoviz.errors import TransientError
from cryptoviz.log import get_logger

__all__ = ["OpenSocket", "Socket", "SocketClosed", "open_socket"]

_PING_S = 20.0
"""A connection is pinged when nothing has arrived for this time, which also keeps proxies from closing it. If it does not answer within the same
time it is half-open."""
_QUEUED_MESSAGES = 256
"""Messages that are read ahead. Above them reading stops, so that the venue feels our back-pressure."""
_RESUME_MESSAGES = 64
_CLOSE_S = 2.0
_NO_CODE = 1005
"""Of a close frame without a code, as RFC 6455 names it."""
_SILENT = logging.Logger("picows", logging.CRITICAL + 1)  # noqa: LOG001 - no handler of the process gets its lines
"""The library logs each connection and error; errors are raised too."""

_TEXT, _BINARY, _MORE, _PING, _PONG, _CLOSE = (
    WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION, WSMsgType.PING, WSMsgType.PONG, WSMsgType.CLOSE,
)  # fmt: skip
_MESSAGE = (_TEXT, _BINARY, _MORE)


log = get_logger("stream")


class SocketClosed(TransientError):
    """A connection to a venue could not be opened or has ended; `code` is the venue's close code, or ours, 0 without one."""

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
    listener = _Listener(frame_bytes)
    options: dict[str, Any] = {"ssl_context": trust, "ssl_shutdown_timeout": _CLOSE_S} if urlsplit(url).scheme == "wss" else {}
    try:
        async with asyncio.timeout(timeout_s):
            transport, _ = await ws_connect(
                lambda *_: listener,
                url,
                websocket_handshake_timeout=timeout_s,
                logger_name=_SILENT,
                enable_auto_ping=True,
                auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
                auto_ping_idle_timeout=_PING_S,
                auto_ping_reply_timeout=_PING_S,
                enable_auto_pong=False,  # the listener answers, and notes them
                max_frame_size=frame_bytes,
                extra_headers={"User-Agent": "cryptoviz"},
                use_aiofastnet=False,  # TLS by Python's own ssl module
                **options,
            )
    except (OSError, TimeoutError, WSError) as error:
        listener.abandon()
        raise SocketClosed(f"no connection to {urlsplit(url).netloc}: {type(error).__name__}: {error}") from None
    except asyncio.CancelledError:
        listener.abandon()
        raise
    return _Socket(transport, listener)


class _Listener(WSListener):
    """Queues the messages of a connection, and stops reading while too many wait."""

    def __init__(self, message_bytes: int) -> None:
        self.heard_s = time.monotonic()
        self.messages: deque[bytes] = deque()
        self.waiter: asyncio.Future[None] | None = None
        self.ended = False
        """No further message arrives."""
        self.paused = False
        self._message_bytes = message_bytes
        self._parts: list[bytes] | None = None
        self._size = 0
        self._abandoned = False

    def abandon(self) -> None:
        """Nobody waits for the connection: end it if it still opens."""
        self._abandoned = True

    def on_ws_connected(self, transport: WSTransport) -> None:
        if self._abandoned:
            transport.disconnect(graceful=False)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.heard_s = time.monotonic()
        kind = frame.msg_type
        if kind in _MESSAGE:
            payload = frame.get_payload_as_bytes()
            if self._parts is None and frame.fin and kind != _MORE:
                self._take(transport, payload)
            else:
                self._take_part(transport, kind, payload, last=frame.fin)
        elif kind == _PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif kind == _CLOSE:
            transport.send_close(frame.get_close_code() or WSCloseCode.OK)
            self._end()

    def is_user_specific_pong(self, frame: WSFrame) -> bool:
        if frame.msg_type != _PONG:
            return False
        self.heard_s = time.monotonic()
        return True

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        del transport
        self._end()

    def leave(self, transport: WSTransport) -> None:
        """What still arrives is of no use, but for the venue's goodbye."""
        self.ended = True
        self._resume(transport)

    def taken(self, transport: WSTransport) -> None:
        """A message was taken out of the queue."""
        if self.paused and len(self.messages) <= _RESUME_MESSAGES:
            self._resume(transport)

    def _take(self, transport: WSTransport, message: bytes) -> None:
        if self.ended:
            return
        self.messages.append(message)
        if len(self.messages) >= _QUEUED_MESSAGES and not self.paused:
            self.paused = True
            transport.underlying_transport.pause_reading()
        self._wake()

    def _take_part(self, transport: WSTransport, kind: WSMsgType, payload: bytes, *, last: bool) -> None:
        if (kind == _MORE) != (self._parts is not None):
            raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "a part of a message that was not begun, or a message within another")
        parts = self._parts = self._parts or []
        self._size += len(payload)
        if self._size > self._message_bytes:
            raise WSProtocolError(WSCloseCode.MESSAGE_TOO_BIG, f"a message of more than {self._message_bytes} bytes")
        parts.append(payload)
        if last:
            self._parts, self._size = None, 0
            self._take(transport, b"".join(parts))

    def _resume(self, transport: WSTransport) -> None:
        if self.paused:
            self.paused = False
            transport.underlying_transport.resume_reading()

    def _end(self) -> None:
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class _Socket:
    def __init__(self, transport: WSTransport, listener: _Listener) -> None:
        self._transport = transport
        self._listener = listener
        self._loop = asyncio.get_running_loop()

    @property
    def heard_s(self) -> float:
        return self._listener.heard_s

    async def send(self, text: str) -> None:
        if self._listener.ended or self._transport.is_close_frame_sent:
            raise self._closed()
        self._transport.send(_TEXT, text)

    async def receive(self) -> str | bytes:
        own = self._listener
        while not own.messages:
            if own.ended:
                raise self._closed()
            own.waiter = self._loop.create_future()
            try:
                await own.waiter
            finally:
                own.waiter = None
        message = own.messages.popleft()
        own.taken(self._transport)
        return message

    async def close(self) -> None:
        self._listener.leave(self._transport)
        self._transport.send_close(WSCloseCode.OK)
        if self._transport.close_handshake.recv is not None:
            self._transport.disconnect()
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._transport.wait_disconnected()
        except TimeoutError:
            self._transport.disconnect(graceful=False)
        except (OSError, WSError):  # why it was ended, which `receive` has said
            return
        except Exception:  # of the listener; a caller that waits for the end must not miss it
            log.exception("connection_bug")

    def _closed(self) -> SocketClosed:
        handshake = self._transport.close_handshake
        said = (handshake.recv or handshake.sent) if handshake is not None else None
        if said is None:
            return SocketClosed("the connection ended: without a close frame")
        number: Any = said.code  # an enumeration, but a number for codes that it does not know
        code, reason = int(number) or _NO_CODE, f" {said.reason}" if said.reason else ""
        return SocketClosed(f"the connection ended: code {code}{reason}", code=code)
