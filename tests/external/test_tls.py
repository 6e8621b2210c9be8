"""A whole pipeline over TLS: engines and control service accept nothing else, and rows arrive (the fixture waits for them)."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

import pytest

from tests.support.external_engines import AUTHORITY, address_of
from tests.support.pipeline import Demo, parse

pytestmark = [pytest.mark.external, pytest.mark.timeout(600)]

PLAIN = {
    "kafka": b"\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff",
    "object-store": b"GET / HTTP/1.0\r\n\r\n",
    "redis": b"PING\r\n",
    "control": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
}
"""A valid begin of each protocol: ApiVersions of Kafka, and so on."""


@pytest.mark.parametrize("name", PLAIN)
def test_the_server_speaks_tls_only(demo: Demo, name: str) -> None:
    settings = demo.settings
    address = (settings.control.host, settings.control.port) if name == "control" else address_of(settings, name)
    trusted = ssl.create_default_context(cafile=AUTHORITY)
    with socket.create_connection(address, timeout=10) as connection, trusted.wrap_socket(connection, server_hostname=address[0]) as secured:
        assert secured.version() in {"TLSv1.2", "TLSv1.3"}
    with socket.create_connection(address, timeout=10) as connection:
        answer = b""
        with suppress(ConnectionError, TimeoutError):
            connection.sendall(PLAIN[name])
            answer = connection.recv(1000)
    # Nothing, an alert of TLS, or Go's words.
    assert not answer or answer[:1] == b"\x15" or b"HTTPS server" in answer, answer


def test_the_pipeline_runs_and_has_rows(demo: Demo) -> None:
    demo.await_rows()
    status = parse(demo.cli("status", "--json"))
    assert {one["kind"] for one in status["components"][:3]} == {"external"}
    assert len(demo.lake_rows_by_delta()) > 0
