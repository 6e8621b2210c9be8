"""An HTTP proxy in front of the object store that injects seeded faults: slow, refused, cut or full.

It forwards bytes unchanged, including `Host`, so that signatures stay valid. toxiproxy works below HTTP: it has no 503 and cannot lose the response
to a request that was executed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, Self

from tests.support.proxy_process import ProxyProcess

__all__ = ["Fault", "S3Proxy"]

_CHUNK_BYTES = 64 << 10


@dataclass(frozen=True)
class Fault:
    """Fault of requests that match `methods` and `path`, each with probability `chance`.

    Attributes:
        down: connections are refused.
        status, code: returned without a request to the store.
        delay_s: delay before forwarding.
        bytes_per_s: speed of uploads; 0 means no limit.
        cut_after: the upload is reset after this number of bytes of its body; -1 means never.
        lose_answer: the store executes the request, the client gets a reset.
    """

    name: str = "none"
    down: bool = False
    status: int = 0
    code: str = ""
    delay_s: float = 0.0
    bytes_per_s: int = 0
    cut_after: int = -1
    lose_answer: bool = False
    methods: frozenset[str] = frozenset({"GET", "PUT", "POST", "DELETE", "HEAD"})
    path: re.Pattern[str] = field(default_factory=lambda: re.compile(""))
    chance: float = 1.0


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    raw: bytes
    length: int


class S3Proxy(ProxyProcess[int]):
    """Each answer is the number of requests that the current fault has affected."""

    def __init__(self, port: int, target_port: int, seed: int = 0) -> None:
        super().__init__("s3-proxy", _run, port, target_port, seed)

    @property
    def hits(self) -> int:
        """Number of requests that the current fault has affected."""
        return self.ask("hits")

    def set(self, fault: Fault) -> None:
        """Set the fault; open connections of a store that is `down` are reset."""
        self.ask(fault)

    def clear(self) -> None:
        """Remove the fault."""
        self.set(Fault())


def _run(pipe: Connection, port: int, target_port: int, seed: int) -> None:
    with _Proxy(port, target_port, seed) as proxy:
        pipe.send(0)
        while (asked := pipe.recv()) is not None:
            if isinstance(asked, Fault):
                proxy.set(asked)
            pipe.send(proxy.hits)


class _Proxy:
    """`fault` may be set at any time; `hits` counts the affected requests."""

    def __init__(self, port: int, target_port: int, seed: int = 0) -> None:
        self.fault = Fault()
        self.hits = 0
        self._port = port
        self._target_port = target_port
        self._dice = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="s3-proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def set(self, fault: Fault) -> None:
        self.hits = 0
        self.fault = fault
        self._call(self._close() if fault.down else self._listen())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._client, "127.0.0.1", self._port)

    async def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        try:
            store_reader, store_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            try:
                while (request := await _read_head(reader)) is not None and await self._serve(request, reader, writer, store_reader, store_writer):
                    pass
            finally:
                store_writer.close()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            _reset(writer)
        finally:
            writer.close()

    async def _serve(
        self,
        request: _Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        store_reader: asyncio.StreamReader,
        store_writer: asyncio.StreamWriter,
    ) -> bool:
        """Handle one request; returns whether the connection stays open."""
        fault = self.fault
        if request.method not in fault.methods or not fault.path.search(request.path) or self._dice.random() >= fault.chance:
            fault = Fault()
        elif fault.name != "none":
            self.hits += 1
        if fault.status:
            await _skip(reader, request.length)
            writer.write(_refusal(fault))
            await writer.drain()
            return True
        await asyncio.sleep(fault.delay_s)
        store_writer.write(request.raw)
        left = request.length
        while left:
            chunk = await reader.readexactly(min(left, _CHUNK_BYTES))
            left -= len(chunk)
            if 0 <= fault.cut_after <= request.length - left:
                store_writer.write(chunk[: fault.cut_after])
                _reset(store_writer)
                _reset(writer)
                return False
            store_writer.write(chunk)
            await store_writer.drain()
            if fault.bytes_per_s:
                await asyncio.sleep(len(chunk) / fault.bytes_per_s)
        return await _answer(request, writer, store_reader, lose=fault.lose_answer)


async def _read_head(reader: asyncio.StreamReader) -> _Request | None:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, _, rest = raw.partition(b"\r\n")
    method, path, _ = first.decode("latin-1").split(" ", 2)
    assert b"transfer-encoding" not in rest.lower(), "no client of ours sends chunks"
    return _Request(method, path, raw, _length(rest))


def _length(head: bytes) -> int:
    found = re.search(rb"(?im)^content-length: *(\d+)", head)
    return int(found[1]) if found else 0


async def _answer(request: _Request, writer: asyncio.StreamWriter, store_reader: asyncio.StreamReader, *, lose: bool) -> bool:
    head = await store_reader.readuntil(b"\r\n\r\n")
    if lose:
        _reset(writer)
        return False
    writer.write(head)
    if re.match(rb"HTTP/1.1 1\d\d", head):
        return await _answer(request, writer, store_reader, lose=lose)
    if request.method != "HEAD" and not re.match(rb"HTTP/1.1 (204|304)", head):
        if b"transfer-encoding: chunked" in head.lower():
            await _pass_chunks(writer, store_reader)
        else:
            left = _length(head)
            while left:
                data = await store_reader.read(min(left, _CHUNK_BYTES))
                if not data:
                    return False
                left -= len(data)
                writer.write(data)
                await writer.drain()
    await writer.drain()
    return b"connection: close" not in head.lower()


async def _pass_chunks(writer: asyncio.StreamWriter, store_reader: asyncio.StreamReader) -> None:
    while True:
        line = await store_reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        writer.write(line + await store_reader.readexactly(size + 2))
        await writer.drain()
        if size == 0:
            return


async def _skip(reader: asyncio.StreamReader, length: int) -> None:
    while length:
        length -= len(await reader.readexactly(min(length, _CHUNK_BYTES)))


def _refusal(fault: Fault) -> bytes:
    body = f"<?xml version='1.0'?><Error><Code>{fault.code}</Code><Message>made by a test</Message><Resource>/</Resource></Error>".encode()
    head = f"HTTP/1.1 {fault.status} {fault.code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
