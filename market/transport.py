"""Sends responses, with the faults of transport and body."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from cryptoviz.clock import Clock
from market.dialects.base import Answer
from market.faultbook import ActiveFault
from market.faults import DuplicateKeys, Empty, GzipBomb, Hang, Html200, Huge, Redirect, Reset, SlowLoris, Truncated, WrongType

__all__ = ["carries_prices", "hang", "reset", "send"]

_JSON = "application/json; charset=utf-8"
_WORTH_ZIPPING_BYTES = 1_000
"""Smaller bodies fit one packet."""
_ZIP_LEVEL = 4
"""A body of 17 coins takes 0.25 ms and shrinks to a third."""
_CHUNK = b" " * (64 * 1024)
_HTML = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking your browser before accessing this site.</body></html>"
_COINS_UNDER = ("data", "result", "products", "candles")
"""Keys of the payload in the providers' envelopes."""
_UNREADABLE = (Html200, Truncated, WrongType, Empty, Redirect, Reset, Hang)


def carries_prices(faults: Sequence[ActiveFault]) -> bool:
    """Whether a client can read the prices of the body despite these faults."""
    return not any(isinstance(fault.parameters, _UNREADABLE) for fault in faults)


async def hang(fault: ActiveFault, now_s: float) -> None:
    """Wait until the fault is deleted or has expired."""
    timeout_s = None if fault.expires_s is None else max(0.0, fault.expires_s - now_s)
    try:
        async with asyncio.timeout(timeout_s):
            await fault.ended.wait()
    except TimeoutError:
        return


def reset(request: web.Request) -> web.StreamResponse:
    """Close the connection with a TCP reset."""
    transport = request.transport
    if transport is not None:
        # SO_LINGER of zero seconds: the kernel sends RST
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


async def send(
    request: web.Request, answer: Answer, headers: dict[str, str], faults: Sequence[ActiveFault], clock: Clock, price_key: str
) -> web.StreamResponse:
    """Send the answer as JSON, changed by the newest fault of the body; `price_key` is the key repeated by `duplicate_keys`."""
    for fault in reversed(faults):
        if isinstance(fault.parameters, DuplicateKeys):
            return await _whole(request, answer.status, _twice(_encode(answer.body), price_key, fault.parameters.value), headers)
        bad = await _bad(request, answer.status, answer.body, headers, fault.parameters, clock)
        if bad is not None:
            return bad
    return await _whole(request, answer.status, _encode(answer.body), headers)


async def _bad(request: web.Request, status: int, body: Any, headers: dict[str, str], fault: object, clock: Clock) -> web.StreamResponse | None:
    match fault:
        case Redirect():
            return await _whole(request, fault.status, b"", headers | {"Location": fault.location})
        case Html200():
            return await _whole(request, 200, _HTML, headers | {"Content-Type": "text/html; charset=utf-8"})
        case Empty(how="bytes"):
            return await _whole(request, status, b"", headers)
        case Empty():
            return await _whole(request, status, _encode(_without_coins(body)), headers)
        case WrongType():
            return await _whole(request, status, _encode(_wrong(body, fault.becomes)), headers)
        case Truncated():
            return await _truncated(request, status, _encode(body), headers, fault)
        case Huge():
            return await _padded(request, status, _encode(body), headers, fault.size_bytes)
        case GzipBomb():
            bomb = await asyncio.to_thread(_gzip_bomb, _encode(body), fault.size_bytes)
            return await _whole(request, status, bomb, headers | {"Content-Encoding": "gzip"})
        case SlowLoris():
            return await _trickle(request, status, _encode(body), headers, fault.interval_s, clock)
        case _:
            return None


def _twice(data: bytes, key: str, value: Any) -> bytes:
    """Insert `"key":value` before each occurrence of the key."""
    name = json.dumps(key).encode() + b":"
    return data.replace(name, name + _encode(value) + b"," + name)


def _encode(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    # the standard encoder writes bare NaN and Infinity, as the nan fault needs, and floats in the shortest exact form
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


async def _start(request: web.Request, status: int, headers: dict[str, str], length: int | None) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers={"Content-Type": _JSON} | headers)
    if length is None:
        response.enable_chunked_encoding()
    else:
        response.content_length = length
    await response.prepare(request)
    return response


async def _whole(request: web.Request, status: int, data: bytes, headers: dict[str, str]) -> web.StreamResponse:
    if len(data) >= _WORTH_ZIPPING_BYTES and "Content-Encoding" not in headers and "gzip" in request.headers.get("Accept-Encoding", "").lower():
        data = gzip.compress(data, compresslevel=_ZIP_LEVEL, mtime=0)
        headers = headers | {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    response = web.Response(status=status, body=data, headers={"Content-Type": _JSON} | headers)
    await response.prepare(request)
    await response.write_eof()
    return response


async def _truncated(request: web.Request, status: int, data: bytes, headers: dict[str, str], fault: Truncated) -> web.StreamResponse:
    part = data[: int(len(data) * fault.fraction)]
    if fault.how == "body":
        return await _whole(request, status, part, headers)
    response = await _start(request, status, headers, len(data))
    await response.write(part)
    if request.transport is not None:
        request.transport.close()
    return response


async def _padded(request: web.Request, status: int, data: bytes, headers: dict[str, str], size: int) -> web.StreamResponse:
    response = await _start(request, status, headers, max(size, len(data)))
    await response.write(data[:1])
    left = size - len(data)
    while left > 0:
        await response.write(_CHUNK[:left])
        left -= len(_CHUNK)
    await response.write(data[1:])
    await response.write_eof()
    return response


def _gzip_bomb(data: bytes, size: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(data[:1])]
    left = size - len(data)
    while left > 0:
        parts.append(packer.compress(_CHUNK[:left]))
        left -= len(_CHUNK)
    return b"".join([*parts, packer.compress(data[1:]), packer.flush()])


async def _trickle(request: web.Request, status: int, data: bytes, headers: dict[str, str], interval_s: float, clock: Clock) -> web.StreamResponse:
    """Send one byte per interval until the client disconnects or the server stops."""
    response = await _start(request, status, headers, None)
    sent = 0
    while True:
        await response.write(data[sent : sent + 1] or b" ")
        sent += 1
        await clock.sleep(interval_s)


def _wrong(body: Any, becomes: str) -> Any:
    if becomes == "swapped":
        becomes = "object" if isinstance(body, list) else "array"
    return {"array": [1, 2, 3], "object": {"result": "ok"}, "string": "ok", "number": 42, "null": None}[becomes]


def _without_coins(body: Any) -> Any:
    """The provider's shape without coins."""
    if isinstance(body, dict) and (held := [key for key in _COINS_UNDER if key in body]):
        return body | {key: [] if isinstance(body[key], list) else {} for key in held}
    return [] if isinstance(body, list) else {}
