"""One WebSocket connection of a client. Frames are written as prepared bytes, many at once: a system call for each would cost ten times as much."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Hashable, Iterable
from typing import Any

from market.streams.ledger import ConnectionEntry
from market.tape import Trade

__all__ = ["Connection", "text_frame"]

_TEXT, _CLOSE, _PING, _PONG = 0x81, 0x88, 0x89, 0x8A
_CLOSE_TIMEOUT_S = 2.0
"""For the client's answer to a close frame; then the TCP connection is ended."""


def _frame(opcode: int, payload: bytes) -> bytes:
    """An unmasked frame, as servers send them (RFC 6455, 5.2)."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", opcode, size) + payload
    if size < 65_536:
        return struct.pack("!BBH", opcode, 126, size) + payload
    return struct.pack("!BBQ", opcode, 127, size) + payload


def text_frame(payload: str | bytes) -> bytes:
    """A whole text frame."""
    return _frame(_TEXT, payload.encode() if isinstance(payload, str) else payload)


class Connection:
    """The sending side of a connection.

    Attributes:
        venue, query: of the URL.
        subscriptions: what the protocol subscribed, by its own keys; the value is the symbol.
        opened_s, pinged_s, sent_s: monotonic times. `unanswered_s`: of the first ping without a pong since.
        data: what the protocol keeps of the connection.
        muted: half open: nothing is sent any more.
    """

    def __init__(self, venue: str, path: str, query: dict[str, str], transport: asyncio.Transport, entry: ConnectionEntry, now_s: float) -> None:
        self.venue = venue
        self.path = path
        self.query = query
        self.entry = entry
        self.subscriptions: dict[Hashable, str] = {}
        self.opened_s = self.pinged_s = self.sent_s = now_s
        self.unanswered_s: float | None = None
        self.received_s: list[float] = []
        self.data: dict[str, Any] = {}
        self.muted = False
        self.closing = False
        self._transport = transport

    @property
    def unread_bytes(self) -> int:
        """Bytes that the client has not taken: of this process only, without the kernel's buffers."""
        return self._transport.get_write_buffer_size()

    def send(self, payload: str | bytes) -> None:
        self.send_frames([text_frame(payload)])

    def send_frames(self, frames: list[bytes], symbol: str = "", trades: Iterable[Trade] = ()) -> None:
        """Send whole text frames, in which the client can read `trades` of a symbol."""
        if self.muted or self.closing or not frames:
            return
        self._write(b"".join(frames))
        self.entry.frames += len(frames)
        if symbol:
            self.entry.note(symbol, trades)

    def ping(self, payload: bytes) -> None:
        self._write(_frame(_PING, payload))

    def pong(self, payload: bytes) -> None:
        self._write(_frame(_PONG, payload))

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, and end the TCP connection soon after; 1006: end it at once."""
        if self.muted or self.closing:
            return
        self.entry.close_reason = self.entry.close_reason or f"{code} {reason}".strip()
        if code == 1006:
            self.reset(self.entry.close_reason)
            return
        self._write(_frame(_CLOSE, struct.pack("!H", code) + reason.encode()))
        self.closing = True
        asyncio.get_running_loop().call_later(_CLOSE_TIMEOUT_S, self._transport.abort)

    def reset(self, reason: str) -> None:
        """End the TCP connection without a close frame, and drop what is unsent."""
        self.entry.close_reason = self.entry.close_reason or reason
        self.closing = True
        self._transport.abort()

    def _write(self, data: bytes) -> None:
        if not self.muted and not self.closing and not self._transport.is_closing():
            self._transport.write(data)
