"""The gate in front of the real server: raw requests over a socket."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from tests.support.dashboard_server import exchange, new_app_context, serving

SOCKET = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
ALWAYS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
TARGETS = ("/", "/healthz", "/static/js/bokeh.min.js", "/favicon.ico", "/ws", "/nothing", "/autoload.js", "/rest/session_info", "/admin")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with new_app_context(tmp_path_factory.mktemp("gate")) as app_context, serving(app_context):
        yield app_context.settings.dashboard.port


@pytest.mark.parametrize("target", TARGETS)
def test_a_rebound_host_reaches_no_handler(port: int, target: str) -> None:
    for host in (f"evil.example:{port}", "evil.example", f"localhost:{port}.evil.example"):
        for more in ("", f"{SOCKET}Origin: http://evil.example:{port}\r\n", f"X-Forwarded-Host: localhost:{port}\r\n"):
            status, headers, body = exchange(port, f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n")
            assert status == 403, (target, host, more)
            assert headers["connection"] == "close"
            assert b"evil" not in body


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "GET / HTTP/1.1\r\nHost: localhost:{port}\r\nHost: evil.example\r\n",
        "GET / HTTP/1.1\r\nHost: evil.example\r\nHost: localhost:{port}\r\n",
        "GET http://evil.example/ HTTP/1.1\r\nHost: localhost:{port}\r\n",
        "GET http://localhost:{port}/ HTTP/1.1\r\nHost: localhost:{port}\r\n",
        "GET //evil.example/ HTTP/1.1\r\nHost: localhost:{port}\r\n",
        "CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\n",
        "GET / HTTP/1.1\r\nHost: localhost:{port}\r\n Host: evil.example\r\n",
        "GET / HTTP/1.1\r\nHost : localhost:{port}\r\n",
    ],
)
def test_malformed_requests_are_bad(port: int, head: str) -> None:
    assert exchange(port, head.format(port=port) + "\r\n")[0] in (400, 403)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_a_form_of_another_page_changes_nothing(port: int, method: str) -> None:
    form = f"Host: 127.0.0.1:{port}\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nOrigin: http://evil.example\r\n\r\nhello"
    for target in ("/", "/ws", "/healthz"):
        assert exchange(port, f"{method} {target} HTTP/1.1\r\n{form}")[0] == 405


@pytest.mark.parametrize(("origin", "status"), [("http://localhost:{port}", 101), ("http://evil.example", 403), ("null", 403), (None, 403)])
def test_the_websocket_opens_for_own_origins_only(port: int, origin: str | None, status: int) -> None:
    line = "" if origin is None else f"Origin: {origin.format(port=port)}\r\n"
    assert exchange(port, f"GET /ws HTTP/1.1\r\nHost: localhost:{port}\r\n{SOCKET}{line}\r\n")[0] == status


@pytest.mark.parametrize("target", TARGETS)
def test_every_response_has_the_headers(port: int, target: str) -> None:
    _, headers, _ = exchange(port, f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")
    assert ALWAYS.items() <= headers.items()
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert not [name for name in headers if name.startswith("access-control-")]
    assert "server" not in headers


def test_the_pages_scripts_carry_the_nonce_of_its_policy(port: int) -> None:
    seen = set()
    for _ in range(2):
        status, headers, body = exchange(port, f"GET /?coin=%3Cscript%3E&tf=%22%3E%3Cscript%3E HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")
        found = re.search(r"script-src 'self' 'nonce-([\w-]{20,})' 'unsafe-eval' blob:;", headers["content-security-policy"])
        assert found is not None
        assert status == 200
        page = body.decode()
        assert page.count("<script") == page.count(f'<script nonce="{found[1]}"') > 3
        assert "'unsafe-inline'" not in headers["content-security-policy"].split("script-src")[1].split(";")[0]
        seen.add(found[1])
    assert len(seen) == 2


def test_a_connection_that_stays_is_asked_each_time(port: int) -> None:
    good = f"GET /healthz HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"
    both = good + f"GET /healthz HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n"
    assert exchange(port, both)[0] == 200
    assert exchange(port, both.replace("localhost", "evil.example", 1))[0] == 403


def test_a_probe_costs_no_look_up_of_its_user(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []

    def look(connection: object) -> int:
        looked.append(connection)
        return os.geteuid()

    monkeypatch.setattr("dashboard.access.gate.peer_uid", look)
    assert exchange(port, f"GET /healthz HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n")[0] == 200
    assert looked == []
    assert exchange(port, f"GET /favicon.ico HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n")[0] in (200, 404)
    assert len(looked) == 1


def test_a_monitor_may_ask_for_the_head_of_the_health_check(port: int) -> None:
    status, headers, body = exchange(port, f"HEAD /healthz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")
    assert (status, headers["content-length"], body) == (200, "15", b"")
