"""A visitor of the dashboard without a browser: the page's HTML, its WebSocket, hello, and an acknowledgement of each message.

As `web/core.js` does, with Bokeh's protocol by hand: a message is a header, metadata and content, each a frame of JSON.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

__all__ = ["PageClient"]

_PAGE = re.compile(r'<script[^>]* id="(cv-session|cv-first)">(.*?)</script>', re.DOTALL)
_TIMEOUT_S = 60.0


@dataclass
class PageClient:
    """One visit. `received` is called with each state message (`parts`, `notices`, `mark`) before it is acknowledged.

    Attributes:
        messages: state messages so far.
        first: the parts that the HTML carried, and the page's addresses.
        page: bytes of the HTML.
        frame: the last WebSocket message, as it came.
    """

    url: str
    received: Callable[[Mapping[str, Any]], None] = lambda _message: None
    messages: int = 0
    first: Mapping[str, Any] = field(default_factory=dict)
    page: bytes = b""
    frame: str = ""
    _connection: WebSocketClientConnection | None = None
    _model: str = ""
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def open(self) -> None:
        """Load the page, open its channel and say hello."""
        answer = await AsyncHTTPClient().fetch(self.url, request_timeout=_TIMEOUT_S)
        self.page = answer.body
        found = {name: orjson.loads(text) for name, text in _PAGE.findall(self.page.decode())}
        self.first, session = found["cv-first"], found["cv-session"]
        place = urlsplit(self.url)
        request = HTTPRequest(f"ws://{place.netloc}/ws", headers={"Origin": f"http://{place.netloc}"}, request_timeout=_TIMEOUT_S)
        self._connection = await websocket_connect(request, subprotocols=["bokeh", session["token"]], max_message_size=2**26)
        await self._message()  # ACK
        self._send("PULL-DOC-REQ", {})
        _, document = await self._message()
        self._model = _find_channel(document)["id"]
        self._event({"type": "event", "name": "document_ready", "values": {"type": "map"}})
        self._say({"page": "root", "act": "hello", "values": {"first": self.first["first"]}})

    async def listen(self) -> None:
        """Receive and acknowledge until the connection is closed."""
        while True:
            try:
                kind, content = await self._message()
            except ConnectionError:
                return
            for event in content.get("events", ()) if kind == "PATCH-DOC" else ():
                values = _entries((event.get("msg_data") or {}).get("values"))
                if isinstance(text := values.get("data"), str):
                    message = orjson.loads(text)
                    self.messages += 1
                    self.received(message)
                    with contextlib.suppress(WebSocketClosedError):  # this side has left, and the server's end is still to come
                        self._say({"ack": f"{message['mark'].partition(' ')[0]} {time.time_ns() // 1_000_000}"})

    def close(self) -> None:
        """Leave, as a browser whose tab is closed."""
        if self._connection is not None:
            self._connection.close()

    def _say(self, data: Mapping[str, Any]) -> None:
        values = {"model": {"id": self._model}, "data": {"type": "map", "entries": list(_as_maps(data).items())}}
        self._event({"type": "event", "name": "data_event", "values": {"type": "map", "entries": list(values.items())}})

    def _event(self, event: Mapping[str, Any]) -> None:
        self._send("PATCH-DOC", {"events": [{"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": event}]})

    def _send(self, kind: str, content: Mapping[str, Any]) -> None:
        connection = self._connection
        assert connection is not None
        for frame in ({"msgid": str(next(self._numbers)), "msgtype": kind}, {}, content):
            connection.write_message(orjson.dumps(frame).decode())

    async def _message(self) -> tuple[str, dict[str, Any]]:
        header = await self._frame()
        await self._frame()
        content = await self._frame()
        for _ in range(2 * int(header.get("num_buffers", 0))):
            await self._frame()
        return header["msgtype"], content

    async def _frame(self) -> Any:
        connection = self._connection
        assert connection is not None
        frame = await connection.read_message()
        if frame is None:
            raise ConnectionError(f"the page's server closed the channel: {connection.close_code} {connection.close_reason}")
        self.frame = frame if isinstance(frame, str) else ""
        return orjson.loads(frame) if isinstance(frame, str) else None


def _as_maps(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {"type": "map", "entries": list(value.items())} if isinstance(value, Mapping) else value for name, value in data.items()}


def _entries(value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and value.get("type") == "map":
        return dict(value["entries"])
    return value if isinstance(value, dict) else {}


def _find_channel(node: Any) -> dict[str, Any]:
    """The model of `dashboard.delivery.Channel` in a document."""
    if isinstance(node, dict):
        if node.get("type") == "object" and "ESM" in str(node.get("name")):
            return node
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            if found := _find_channel(each):
                return found
    return {}
