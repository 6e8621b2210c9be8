"""The page's channel on the real server: what a browser may send before and after its token was checked."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClosedError, websocket_connect

from dashboard.access import gate
from dashboard.builds import PageBuilds
from tests.support.dashboard_server import exchange, new_app_context, serving

TOKEN = re.compile(r'"token": "([^"]+)"')


@pytest.fixture(scope="module")
def builds() -> PageBuilds:
    return PageBuilds()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, builds: PageBuilds) -> Iterator[int]:
    with new_app_context(tmp_path_factory.mktemp("socket")) as app_context, serving(app_context, builds=builds):
        yield app_context.settings.dashboard.port


def written(content: object) -> str:
    """A token as a browser could write it."""
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def served(port: int) -> str:
    """The token of a page of the server."""
    return str(TOKEN.findall(exchange(port, f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")[2].decode())[0])


async def answers(port: int, token: str, *frames: str | bytes) -> list[str]:
    """What the server says until it closes the channel; it gets the frames after its first message."""
    request = HTTPRequest(f"ws://127.0.0.1:{port}/ws", headers={"Origin": f"http://127.0.0.1:{port}"}, request_timeout=60)
    connection = await websocket_connect(request, subprotocols=["bokeh", token])
    said = [str(await connection.read_message()) for _ in range(3 if frames else 0)]
    with contextlib.suppress(WebSocketClosedError):  # closed at an earlier frame
        for frame in frames:
            await connection.write_message(frame, binary=isinstance(frame, bytes))
    while (message := await connection.read_message()) is not None:
        said.append(str(message))
    connection.close()
    return [json.loads(message)["msgtype"] for message in said if "msgtype" in message]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"session_id": 5},
        {"session_id": ["x"]},
        {"session_expiry": "soon"},
        {"arguments": "x", "headers": 7},
        {"__bk__zlib_": base64.urlsafe_b64encode(zlib.compress(b"[" + b"{}," * 10**6 + b"0]", 9)).decode().rstrip("=")},
    ],
    ids=["plain", "number", "list", "expiry", "arguments", "bomb"],
)
def test_a_token_that_the_server_has_not_signed_opens_nothing(
    port: int, builds: PageBuilds, more: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = served(port).partition(".")[2]
    token = written({"session_id": "x" * 44, "session_expiry": int(time.time()) + 300, **more})
    monkeypatch.setattr(builds, "turn", lambda: pytest.fail("a page was built"))
    for forged in (token, f"{token}.{signature}", "x", "..", written([1])):
        assert asyncio.run(answers(port, forged)) == []


def test_a_browser_sends_no_buffers_and_no_message_that_a_page_could_not_take(port: int) -> None:
    header = json.dumps({"msgid": "1", "msgtype": "PATCH-DOC", "num_buffers": 10**9})
    assert asyncio.run(answers(port, served(port), header, "{}", "{}", "{}", b"x" * 1000)) == ["ACK"]
    assert asyncio.run(answers(port, served(port), "[" * 300_000)) == ["ACK"]


def test_a_request_that_is_never_whole_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_HEADERS_S", 0.1)
    monkeypatch.setattr(gate, "_BODY_S", 0.1)
    with new_app_context(tmp_path) as app_context, serving(app_context):
        port = app_context.settings.dashboard.port
        own = f"Host: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
        for begun in ("", "GET /healthz HTTP/1.1\r\nX: ", f"POST /sign-in HTTP/1.1\r\n{own}Content-Length: 9\r\n\r\nto"):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as silent:
                silent.sendall(begun.encode())
                assert silent.recv(1) == b""
