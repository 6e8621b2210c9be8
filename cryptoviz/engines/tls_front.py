"""TLS in front of a server on a Unix socket. The Valkey of the wheel is built without TLS, so no network port of it is open beyond loopback."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptoviz.errors import EngineUnavailable
from cryptoviz.local.private import write_private
from cryptoviz.log import get_logger
from cryptoviz.settings.engine_tls import ServerIdentity

__all__ = ["TlsFront"]

_MOST_CONNECTIONS = 1024
"""Further connections are closed at once. The pipeline has about two for each scraper."""
_HANDSHAKE_S = 10.0
_CHUNK_BYTES = 64 * 1024
_BACKLOG = 128


class TlsFront:
    """Accepts TLS connections at host and port, in a thread of its own, and passes their bytes to the socket, whose server asks for a password.

    `start` and `close` must not run concurrently.
    """

    def __init__(self, name: str, host: str, port: int, socket: Path) -> None:
        self._name, self._host, self._port, self._socket = name, host, port, socket
        self._stop: Callable[[], object] | None = None
        self._thread: threading.Thread | None = None
        self._connections = 0

    def start(self, identity: ServerIdentity) -> None:
        """Listen. No-op while listening. Raises EngineUnavailable if the address cannot be used."""
        if self._thread is not None:
            return
        ready: Future[Callable[[], object]] = Future()
        context = _context(identity)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(context, ready)), name=f"{self._name}-tls", daemon=True)
        self._thread.start()
        try:
            self._stop = ready.result()
        except OSError as error:
            self._thread = None
            message = f"{self._name} cannot listen on {self._host}:{self._port}: {error} (CRYPTOVIZ_ENGINES__BIND)"
            raise EngineUnavailable(message, engine=self._name, address=f"{self._host}:{self._port}") from error

    def close(self) -> None:
        """Stop listening and close all connections. No-op if not listening."""
        stop, thread, self._stop, self._thread = self._stop, self._thread, None, None
        if stop is not None and thread is not None:
            stop()
            thread.join()

    async def _run(self, context: ssl.SSLContext, ready: Future[Callable[[], object]]) -> None:
        # The path of a home may be longer than the 107 bytes that a socket's address has room for.
        folder = os.open(self._socket.parent, os.O_PATH | os.O_DIRECTORY)
        target = f"/proc/self/fd/{folder}/{self._socket.name}"
        stopped, loop = asyncio.Event(), asyncio.get_running_loop()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(reader, writer, target)

        try:
            server = await asyncio.start_server(serve, self._host, self._port, ssl=context, ssl_handshake_timeout=_HANDSHAKE_S, backlog=_BACKLOG)
            ready.set_result(lambda: loop.call_soon_threadsafe(stopped.set))
            async with server:
                await stopped.wait()
        except OSError as error:
            ready.set_exception(error)
        finally:
            os.close(folder)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str) -> None:
        if self._connections >= _MOST_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections += 1
        inner: asyncio.StreamWriter | None = None
        try:
            inner_reader, inner = await asyncio.open_unix_connection(target)
            pumps = [asyncio.ensure_future(_pump(reader, inner)), asyncio.ensure_future(_pump(inner_reader, writer))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError as error:
            get_logger(self._name).debug("tls_connection_ended", error=str(error))
        finally:
            self._connections -= 1
            for one in (writer, inner):
                if one is not None:
                    one.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes until the end of the stream."""
    while chunk := await reader.read(_CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()


def _context(identity: ServerIdentity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with TemporaryDirectory(prefix="cryptoviz-") as folder:  # mode 0700; the library reads files only
        file = Path(folder) / "engine.pem"
        write_private(file, identity.key + identity.certificate)
        context.load_cert_chain(file)
    return context
