"""The connection to a venue against a server that sends chosen bytes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from actors.streaming import socket as socket_module
from actors.streaming.socket import Socket, SocketClosed, open_socket
from tests.support.certificates import authority, certificate
from tests.support.ports import free_port
from tests.support.waiting import eventually_async

MOST_BYTES = 100_000
TRUST = ssl.create_default_context()
TEXT, BINARY, MORE, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA


def frame(kind: int, data: bytes = b"", *, last: bool = True, says: int | None = None) -> bytes:
    """A frame of a server. `says`: the length that it states, if not that of the data."""
    size = len(data) if says is None else says
    head = bytes([(0x80 if last else 0) | kind])
    if size < 126:
        return head + bytes([size]) + data
    return head + (b"\x7e" + struct.pack(">H", size) if size < 65_536 else b"\x7f" + struct.pack(">Q", size)) + data


def goodbye(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, struct.pack(">H", code) + reason.encode())


@dataclass
class Client:
    """A connection as the server sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: str = ""
    got: list[tuple[int, bytes]] = field(default_factory=list)
    """Kind and content of each frame."""
    gone: bool = False

    async def read(self) -> None:
        """Until the connection ends."""
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                first, second = await self.reader.readexactly(2)
                size = second & 0x7F
                if size == 126:
                    [size] = struct.unpack(">H", await self.reader.readexactly(2))
                mask, data = await self.reader.readexactly(4), await self.reader.readexactly(size)
                self.got.append((first & 0xF, bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))))
        self.gone = True


Handler = Callable[[Client], Awaitable[None]]


@contextlib.asynccontextmanager
async def served(
    handler: Handler, tls: ssl.SSLContext | None = None, *, answers: bool = True, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[str, list[Client]]]:
    """Address of a server, and its connections. `handler` runs after the handshake, if it `answers` that."""
    clients: list[Client] = []
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(reader, writer)
        clients.append(client)
        client.head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if answers:
            writer.write(handshake(client.head))
        for work in (client.read(), handler(client)):
            tasks.add(asyncio.ensure_future(work))

    server = await asyncio.start_server(accept, host, 0, ssl=tls)
    try:
        yield f"{'wss' if tls else 'ws'}://{host}:{server.sockets[0].getsockname()[1]}/stream?x=1", clients
    finally:
        server.close()
        for client in clients:
            client.writer.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def handshake(head: str) -> bytes:
    key = next(line.split(": ", 1)[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()).decode()
    return f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode()


def sends(*parts: bytes) -> Handler:
    async def send(client: Client) -> None:
        for part in parts:
            client.writer.write(part)
            await client.writer.drain()

    return send


async def opened(url: str, trust: ssl.SSLContext = TRUST) -> Socket:
    return await open_socket(url, 20.0, MOST_BYTES, trust)


async def received(socket: Socket) -> tuple[list[str | bytes], SocketClosed]:
    """All messages, and why there are no more."""
    found: list[str | bytes] = []
    while True:
        try:
            found.append(await socket.receive())
        except SocketClosed as error:
            await socket.close()
            return found, error


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for 127.0.0.1, and one that trusts it."""
    folder: Path = tmp_path_factory.mktemp("certificates")
    signer = authority(folder, "venues")
    chain, key = certificate(folder, "venue", signer)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    return server, ssl.create_default_context(cafile=str(signer))


async def test_messages_arrive_in_order_whatever_their_frames() -> None:
    parts = (frame(TEXT, b"a", last=False), frame(PING, b"p"), frame(MORE, b"b", last=False), frame(MORE, b"c"))
    long = b"x" * 70_000
    stream = b"".join((frame(TEXT, b"one"), frame(BINARY, b"\x00\xff"), *parts, frame(TEXT), frame(TEXT, long), goodbye(1000)))
    # In one piece, and with a boundary within each frame.
    for pieces in ((stream,), (*(stream[start : start + 3] for start in range(0, 60, 3)), stream[60:])):
        async with served(sends(*pieces)) as (url, [*_]):
            found, error = await received(await opened(url))
        assert found == [b"one", b"\x00\xff", b"abc", b"", long]
        assert error.code == 1000


@pytest.mark.parametrize(
    ("ending", "code", "text"),
    [
        (goodbye(4001, "go away"), 4001, "the connection ended: code 4001 go away"),
        (goodbye(1012), 1012, "the connection ended: code 1012"),
        (frame(CLOSE), 1005, "the connection ended: code 1005"),
        (b"", 0, "the connection ended: without a close frame"),
    ],
)
async def test_how_the_venue_ended_it_follows_its_last_message(ending: bytes, code: int, text: str) -> None:
    async def handler(client: Client) -> None:
        client.writer.write(frame(TEXT, b"last") + ending)
        client.writer.close()

    async with served(handler) as (url, _):
        found, error = await received(await opened(url))
    assert (found, error.code, error.message) == ([b"last"], code, text)


async def test_the_venues_goodbye_is_answered() -> None:
    async with served(sends(goodbye(4001, "go away"))) as (url, clients):
        _, error = await received(await opened(url))
        await eventually_async(lambda: _holds(clients[0].gone))
    assert (error.code, clients[0].got) == (4001, [(CLOSE, struct.pack(">H", 4001))])


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (frame(TEXT, b"{", says=MOST_BYTES + 1), 1009),
        (frame(TEXT, b"{", says=2**62), 1009),
        (frame(TEXT, b"x" * 60_000, last=False) + frame(MORE, b"y" * 60_000), 1009),
        (frame(MORE, b"no begin"), 1002),
        (frame(TEXT, b"a", last=False) + frame(TEXT, b"b"), 1002),
        (frame(0x3), 1002),
    ],
    ids=["frame too big", "frame of 2^62 bytes", "message too big", "part without a begin", "message within a message", "unknown kind"],
)
async def test_what_is_too_big_or_no_message_ends_the_connection(stream: bytes, code: int) -> None:
    async with served(sends(stream)) as (url, clients):
        found, error = await received(await opened(url))
        await eventually_async(lambda: _holds(clients[0].gone))
    assert (found, error.code) == ([], code)
    assert clients[0].got[0][1][:2] == struct.pack(">H", code)


async def _holds(value: object) -> bool:
    return bool(value)


async def test_a_message_of_the_most_bytes_is_taken() -> None:
    async with served(sends(frame(TEXT, b"x" * MOST_BYTES), goodbye(1000))) as (url, _):
        found, _ = await received(await opened(url))
    assert [len(one) for one in found] == [MOST_BYTES]


async def test_pings_are_answered_and_prove_that_the_connection_lives() -> None:
    async with served(sends()) as (url, clients):
        socket = await opened(url)
        before_s = time.monotonic()
        assert socket.heard_s < before_s
        clients[0].writer.write(frame(PING, b"are you there"))
        await eventually_async(lambda: _holds(clients[0].got == [(PONG, b"are you there")]))
        assert socket.heard_s >= before_s
        await socket.close()


async def test_a_venue_that_answers_our_ping_is_kept_and_one_that_does_not_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_module, "_PING_S", 0.2)

    async def pongs(client: Client) -> None:
        for count in range(1, 4):
            await eventually_async(partial_pings(client, count))
            client.writer.write(frame(PONG, client.got[-1][1]))
        client.writer.write(frame(TEXT, b"alive"))

    async with served(pongs) as (url, clients):
        socket = await opened(url)
        assert await socket.receive() == b"alive"
        assert socket.heard_s > 0
        found, error = await received(socket)  # no further pong
    assert (found, error.code) == ([], 1001)
    assert [kind for kind, _ in clients[0].got][:3] == [PING, PING, PING]


def partial_pings(client: Client, count: int) -> Callable[[], Awaitable[bool]]:
    async def enough() -> bool:
        return sum(kind == PING for kind, _ in client.got) >= count

    return enough


@pytest.mark.parametrize("encrypted", [False, True])
async def test_reading_stops_while_messages_wait_and_none_is_lost(signers: tuple[ssl.SSLContext, ssl.SSLContext], *, encrypted: bool) -> None:
    server, trust = signers
    count, body = 3_000, b"x" * 10_000
    sent = 0

    async def handler(client: Client) -> None:
        nonlocal sent
        for number in range(count):
            client.writer.write(frame(TEXT, b"%d " % number + body))
            await client.writer.drain()
            sent = number + 1
        client.writer.write(goodbye(1000))

    async with served(handler, server if encrypted else None) as (url, _):
        socket = await opened(url, trust)
        before = -1

        async def stands() -> bool:
            nonlocal before
            still, before = sent == before, sent
            return still

        await eventually_async(stands, every_s=0.5)
        assert sent < count  # the rest of 30 MB waits at the venue
        found, _ = await received(socket)
    assert [int(bytes(one).split()[0]) for one in found if isinstance(one, bytes)] == list(range(count))


async def test_a_cancelled_receive_loses_no_message() -> None:
    async with served(sends()) as (url, clients):
        socket = await opened(url)
        waiting = asyncio.ensure_future(socket.receive())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        clients[0].writer.write(frame(TEXT, b"kept"))
        assert await socket.receive() == b"kept"
        await socket.close()


async def test_what_is_sent_arrives_and_the_handshake_says_who_connects() -> None:
    async with served(sends()) as (url, clients):
        socket = await opened(url)
        await socket.send('{"method":"subscribe","symbol":"\u20ac"}')
        await socket.send("x" * 500)
        await eventually_async(lambda: _holds(len(clients[0].got) == 2))
        await socket.close()
        await eventually_async(lambda: _holds(clients[0].gone))
        with pytest.raises(SocketClosed):
            await socket.send("too late")
    [client] = clients
    assert client.got == [
        (TEXT, '{"method":"subscribe","symbol":"\u20ac"}'.encode()),
        (TEXT, b"x" * 500),
        (CLOSE, struct.pack(">H", 1000)),
    ]
    head = client.head.lower()
    assert head.startswith("get /stream?x=1 http/1.1\r\n")
    assert "\r\nuser-agent: cryptoviz\r\n" in head
    assert "sec-websocket-extensions" not in head  # no compression


async def test_a_trusted_venue_is_read_over_tls(signers: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, trust = signers
    messages = [b"%d" % number for number in range(2_000)]
    async with served(sends(*(frame(TEXT, one) for one in messages), goodbye(1001, "restart")), server) as (url, _):
        found, error = await received(await opened(url, trust))
    assert (found, error.message) == (messages, "the connection ended: code 1001 restart")


async def test_a_venue_that_is_not_trusted_or_not_the_one_asked_for_is_refused(signers: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, trust = signers
    async with served(sends(), server) as (url, clients):
        with pytest.raises(SocketClosed, match="CERTIFICATE_VERIFY_FAILED"):
            await opened(url)
    assert not clients
    async with served(sends(), server, host="127.0.0.2") as (url, clients):  # the certificate is for 127.0.0.1
        with pytest.raises(SocketClosed, match=r"CERTIFICATE_VERIFY_FAILED.*127\.0\.0\.2"):
            await opened(url, trust)
    assert not clients


async def test_a_venue_that_refuses_or_is_not_there_is_named() -> None:
    async def refuses(client: Client) -> None:
        client.writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        client.writer.close()

    async with served(refuses, answers=False) as (url, _):
        with pytest.raises(SocketClosed, match=r"no connection to 127\.0\.0\.1:\d+: WSInvalidStatusError: .*503"):
            await opened(url)
    with pytest.raises(SocketClosed, match=r"no connection to 127\.0\.0\.1:\d+: ConnectionRefusedError"):
        await opened(f"ws://127.0.0.1:{free_port()}")


async def test_a_venue_that_answers_too_late_is_left() -> None:
    late = asyncio.Event()

    async def answers(client: Client) -> None:
        await late.wait()
        client.writer.write(handshake(client.head) + frame(TEXT, b"nobody reads it"))

    async with served(answers, answers=False) as (url, clients):
        with pytest.raises(SocketClosed, match=r"no connection to 127\.0\.0\.1:\d+: TimeoutError"):
            await open_socket(url, 0.2, MOST_BYTES, TRUST)
        late.set()
        await eventually_async(lambda: _holds(clients and clients[0].gone))


async def test_a_venue_that_does_not_say_goodbye_is_left_too() -> None:
    async with served(sends()) as (url, clients):
        socket = await opened(url)
        reading = asyncio.ensure_future(received(socket))
        await socket.close()
        assert (await reading)[1].code == 1000  # ours
        await eventually_async(lambda: _holds(clients[0].gone))
    assert clients[0].got == [(CLOSE, struct.pack(">H", 1000))]


async def test_a_fault_of_the_listener_ends_the_connection_and_is_logged(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(socket_module._Listener, "_take", fails)
    async with served(sends(frame(TEXT, b"x"))) as (url, clients):
        found, error = await received(await opened(url))
        await eventually_async(lambda: _holds(clients[0].gone))
    assert (found, error.code) == ([], 1011)
    assert "connection_bug" in capsys.readouterr().err
