"""A TCP proxy before an engine, in a separate process, that cuts connections of chosen programs: silently, as by lost packets, or by resets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import psutil

from bench.idle import kind_of
from tests.support.proxy_process import ProxyProcess

__all__ = ["Cut", "TcpProxy"]

_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Cut:
    """`programs`: whose connections, by `bench.idle.kind_of`; None: all. `reset`: end them and refuse new ones; else no byte passes meanwhile."""

    programs: frozenset[str] | None = frozenset()
    reset: bool = False

    def hits(self, program: str) -> bool:
        """Whether it cuts this program off."""
        return self.programs is None or program in self.programs


class TcpProxy(ProxyProcess[set[str]]):
    """`host`: of the proxy and of the engine."""

    def __init__(self, port: int, target_port: int, host: str = "127.0.0.1") -> None:
        super().__init__("tcp-proxy", _run, host, port, target_port)

    def apply(self, cut: Cut) -> set[str]:
        """Cut, or heal. Returns the programs that have a connection."""
        return self.ask(cut)


def _run(pipe: Connection, host: str, port: int, target_port: int) -> None:
    proxy = _Proxy(host, port, target_port)
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def call(work: Coroutine[Any, Any, set[str]]) -> set[str]:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    pipe.send(call(proxy.listen()))
    while (cut := pipe.recv()) is not None:
        pipe.send(call(proxy.apply(cut)))


@dataclass(eq=False)
class _Line:
    """One connection through the proxy."""

    program: str
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def reset(self) -> None:
        for writer in self.writers:
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class _Proxy:
    def __init__(self, host: str, port: int, target_port: int) -> None:
        self._host, self._port, self._target_port = host, port, target_port
        self._cut = Cut()
        self._changed = asyncio.Event()
        self._lines: set[_Line] = set()

    async def listen(self) -> set[str]:
        await asyncio.start_server(self._client, self._host, self._port)
        return set()

    async def apply(self, cut: Cut) -> set[str]:
        self._cut = cut
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        programs = {line.program for line in self._lines}
        for line in list(self._lines):
            if cut.reset and cut.hits(line.program):
                line.reset()
        return programs

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _Line(await asyncio.to_thread(self._program_at, writer.get_extra_info("peername")[1]), [writer])
        if self._cut.reset and self._cut.hits(line.program):
            line.reset()
            return
        self._lines.add(line)
        try:
            await self._until_whole(line)
            engine_reader, engine_writer = await asyncio.open_connection(self._host, self._target_port)
            line.writers.append(engine_writer)
            await asyncio.gather(self._pump(line, reader, engine_writer), self._pump(line, engine_reader, writer))
        except OSError:
            line.reset()
        finally:
            self._lines.discard(line)
            for one in line.writers:
                one.close()

    async def _pump(self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await self._until_whole(line)
            writer.write(data)
            await writer.drain()
        await self._until_whole(line)
        with contextlib.suppress(OSError):
            writer.write_eof()

    async def _until_whole(self, line: _Line) -> None:
        while self._cut.hits(line.program):
            await self._changed.wait()

    def _program_at(self, port: int) -> str:
        """The program that connected from this port."""
        for one in psutil.net_connections("tcp4"):
            if one.laddr and one.raddr and one.laddr.port == port and one.raddr.port == self._port and one.pid:
                with contextlib.suppress(psutil.NoSuchProcess):
                    return kind_of(psutil.Process(one.pid))
        return "ended"
