"""Processor time of a message by WebSocket client, with TLS: the socket alone, and with all that an actor does before Kafka.

    .venv/bin/python -m bench.stream_sockets [--messages 20000] [--rounds 3] [--venues binance,kraken,coinbase]
    PYTHONPATH=folder .venv/bin/python -m bench.stream_sockets      # beside websockets, after `pip install --target folder websockets`

A server in another process sends frames of the documented form, one trade each, each in a TLS record of its own, in groups: `--group 1` wakes the
client for each message, a large one is a backlog. Clients take turns, and the fastest round of each counts. `no socket` reads the same frames from
memory. `whole`: the connection and the core of an actor, up to the transactions for Kafka.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import multiprocessing
import os
import ssl
import struct
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

from actors.streaming.actor import utc_us
from actors.streaming.socket import OpenSocket, SocketClosed, open_socket
from bench.raw_frames import frames_of
from bench.stream_read import read_all, read_socket
from bench.websockets_socket import available, open_websockets
from cryptoviz.venues.base import StreamVenue
from cryptoviz.venues.registry import BUILT_IN_VENUES, venue_of
from cryptoviz.venues.spec import Instrument
from tests.support.certificates import authority, certificate

_FRAME_BYTES = 4 * 1024 * 1024
_OPEN_S = 20.0
_ANSWER_S = 0.3
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def serve(pipe: Pipe, chain: str, key: str, messages: int) -> None:
    """Until the pipe ends. Answers with its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    frames = {name: [_frame(text) for text in frames_of(name, venue_of(name).spec.instruments(), messages)] for name in BUILT_IN_VENUES}

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        token = next(value for name, value in lines.items() if name.lower() == b"sec-websocket-key")
        accept = base64.b64encode(hashlib.sha1(token + _GUID).digest())
        answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
        writer.write(answer % accept)
        name, group, pause_s = _asked(head.split(b" ", 2)[1].decode())
        rest = asyncio.ensure_future(reader.read())  # what is left unread would reset the connection
        own = frames[name]
        for start in range(0, len(own), group):
            for frame in own[start : start + group]:
                writer.write(frame)
            await writer.drain()
            await asyncio.sleep(pause_s)
        writer.write(b"\x88\x02" + struct.pack(">H", 1000))
        await writer.drain()
        await asyncio.wait([rest], timeout=_ANSWER_S)  # a client may leave it to the server to end the connection
        rest.cancel()
        await asyncio.gather(rest, return_exceptions=True)
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(client, "127.0.0.1", 0, ssl=context)
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.to_thread(pipe.recv)

    asyncio.run(run())


def _asked(path: str) -> tuple[str, int, float]:
    """Venue, messages of a group, and seconds between groups. A venue adds to the path."""
    _, name, group, pause_ms, *_ = path.split("/")
    return name, int(group), float(pause_ms) / 1000


def _frame(text: str) -> bytes:
    data = text.encode()
    return (bytes((0x81, len(data))) if len(data) < 126 else b"\x81\x7e" + struct.pack(">H", len(data))) + data


def drain(url: str, connect: OpenSocket) -> int:
    """Receive each message. Returns their number."""

    async def run() -> int:
        socket, count = await connect(url, _OPEN_S, _FRAME_BYTES), 0
        try:
            while True:
                await socket.receive()
                count += 1
        except SocketClosed:
            await socket.close()
            return count

    return asyncio.run(run())


def whole(url: str, connect: OpenSocket, venue: StreamVenue, instruments: Sequence[Instrument]) -> int:
    return read_socket(venue, instruments, url, connect, utc_us)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.stream_sockets", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000, help="in a round (default 20000)")
    parser.add_argument("--rounds", type=int, default=3, help="of each client (default 3)")
    parser.add_argument("--group", type=int, default=1, help="messages that the server sends at once (default 1)")
    parser.add_argument("--pause-ms", type=float, default=0.3, help="between groups (default 0.3)")
    parser.add_argument("--venues", default=",".join(BUILT_IN_VENUES))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cv-sockets-") as folder:
        signer = authority(Path(folder), "bench")
        chain, key = certificate(Path(folder), "localhost", signer)
        trust = ssl.create_default_context(cafile=str(signer))
        clients: dict[str, OpenSocket] = {f"picows {version('picows')}": partial(open_socket, trust=trust)}
        if other := available():
            clients[f"websockets {other}"] = partial(open_websockets, trust=trust)
        context = multiprocessing.get_context("spawn")
        pipe, theirs = context.Pipe()
        server = context.Process(target=serve, args=(theirs, str(chain), str(key), given.messages), daemon=True)
        server.start()
        port = pipe.recv()
        print(f"{given.messages} messages a round, {given.rounds} rounds, groups of {given.group}, load {os.getloadavg()[0]:.1f}")
        for name in given.venues.split(","):
            venue = venue_of(name)
            instruments = venue.spec.instruments()
            frames = list(frames_of(name, instruments, given.messages))
            url = f"wss://127.0.0.1:{port}/{name}/{given.group}/{given.pause_ms:g}/"
            runs: dict[str, Callable[[], int]] = {"no socket": partial(read_all, venue, instruments, frames, utc_us)}
            for client, connect in clients.items():
                runs[f"{client}: socket"] = partial(drain, url, connect)
                runs[f"{client}: whole"] = partial(whole, url, connect, venue, instruments)
            best = dict.fromkeys(runs, float("inf"))
            for _ in range(given.rounds):
                for label, run in runs.items():
                    before = time.process_time()
                    assert run() == given.messages, label
                    best[label] = min(best[label], (time.process_time() - before) / given.messages * 1e6)
            print(name, *(f"  {label:42} {us:6.1f} us a message" for label, us in best.items()), sep="\n", flush=True)
        pipe.send(None)
        server.join(10)


if __name__ == "__main__":
    main()
