"""A hostile server, in a separate process so that its memory is not measured: `python -m tests.integration.hostile_server TLS_FOLDER`.

Prints one line of JSON with its addresses, then serves until its standard input ends. The first path segment selects the attack; `/hits` counts
the requests that reached the canary, which represents an internal service.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
import zlib
from pathlib import Path

from aiohttp import web

from market.server import ReplayMarket
from tests.support.ports import free_ports

JSON_TYPE = {"Content-Type": "application/json"}
MB = 1024 * 1024
GOOD = json.dumps([{"id": "bitcoin", "current_price": 1.5}]).encode()
TLS_HOST = "127.0.0.2"
hits: list[str] = []


def squeezed(kind: int) -> bytes:
    """200 MB of spaces, compressed to 0.2 MB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, kind)
    return b"".join([packer.compress(b"[" + b" " * MB), *(packer.compress(b" " * MB) for _ in range(199)), packer.flush()])


BOMBS = {"gzip": squeezed(31), "deflate": squeezed(15)}


MANY = {
    "many_objects": b"[" + b"{}," * (8 * MB // 3 - 10) + b"{}]",
    "many_numbers": b"[" + b"1.5," * (2 * MB - 10) + b"1]",
    "many_members": b"{" + b",".join(b'"%d":1' % n for n in range(700_000)) + b"}",
    "many_strings": b"[" + b'"\\u00e4",' * (MB - 10) + b"1]",
    # as many values as are accepted
    "most_strings": b"[" + b'"\\u00e4b",' * 300_000 + b"1]",
    "most_objects": b"[" + b'{"a":1.5},' * 95_000 + b"{}]",
}


async def harm(request: web.Request) -> web.StreamResponse:
    kind, canary = request.match_info["kind"], request.app["canary"]
    if kind in BOMBS:
        return web.Response(body=BOMBS[kind], headers=JSON_TYPE | {"Content-Encoding": kind})
    if kind in MANY:
        return web.Response(body=MANY[kind], headers=JSON_TYPE)
    if kind in ("loris", "head_loris"):
        return await drip(request, kind)
    if kind in ("huge", "huge_chunked", "endless"):
        return await flood(request, kind)
    if kind == "not_gzip":
        return web.Response(body=GOOD, headers=JSON_TYPE | {"Content-Encoding": "gzip"})
    target = {
        "redirect_internal": f"http://{canary}/latest/meta-data/",
        "redirect_same_host": "/good/coins/markets",
        "redirect_scheme_relative": f"//{canary}/",
        "redirect_file": "file:///etc/passwd",
        "redirect_gopher": f"gopher://{canary}/x",
        "redirect_userinfo": f"http://api.coingecko.com@{canary}/",
        "redirect_https": f"https://{canary}/",
        "redirect_nowhere": "http://[::",
    }.get(kind)
    if target is not None:
        return web.Response(status=307, headers=JSON_TYPE | {"Location": target}, body=b"{}")
    return web.Response(body=GOOD, headers=JSON_TYPE)


async def drip(request: web.Request, kind: str) -> web.StreamResponse:
    """Single bytes at intervals, without end, of the body or of the headers."""
    never, transport = asyncio.Event(), request.transport
    response = web.StreamResponse(headers=JSON_TYPE)
    if kind == "loris":
        await response.prepare(request)
    while transport is not None and not transport.is_closing():
        if kind == "loris":
            await response.write(b" ")
        else:
            transport.write(b"H" if never.is_set() else b"HTTP/1.1 200 OK\r\nX-A: ")
        try:
            await asyncio.wait_for(never.wait(), 0.05)
        except TimeoutError:
            continue
    return response


async def flood(request: web.Request, kind: str) -> web.StreamResponse:
    """50 MB of spaces, with or without Content-Length, or without an end."""
    length = {"Content-Length": str(50 * MB)} if kind == "huge" else {}
    response = web.StreamResponse(headers=JSON_TYPE | length)
    await response.prepare(request)
    sent = 0
    with contextlib.suppress(ConnectionError):  # the client has disconnected
        while kind == "endless" or sent < 50:
            await response.write(b" " * MB)
            sent += 1
    return response


async def canary_hit(request: web.Request) -> web.Response:
    hits.append(request.path)
    return web.Response(body=GOOD, headers=JSON_TYPE)


async def tell_hits(request: web.Request) -> web.Response:
    del request
    return web.json_response(hits)


async def listen(app: web.Application, host: str, port: int, certificate: Path | None = None) -> None:
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, port, ssl_context=context).start()


async def serve(tls: Path) -> None:
    ports = free_ports(6)
    app, canary = web.Application(), web.Application()
    app["canary"] = f"127.0.0.1:{ports[1]}"
    app.router.add_get("/hits", tell_hits)
    app.router.add_get("/{kind}/{rest:.*}", harm)
    canary.router.add_route("*", "/{rest:.*}", canary_hit)
    await listen(app, "127.0.0.1", ports[0])
    await listen(canary, "127.0.0.1", ports[1])
    addresses = {"harm": f"http://127.0.0.1:{ports[0]}"}
    for name, port in zip(("good", "expired", "wrong-host", "self-signed"), ports[2:], strict=True):
        secure = web.Application()
        secure.router.add_get("/{kind}/{rest:.*}", harm)
        secure["canary"] = app["canary"]
        await listen(secure, TLS_HOST, port, tls / f"{name}.pem")
        addresses[name] = f"https://{TLS_HOST}:{port}/good"
    async with ReplayMarket() as market:
        addresses |= {provider: market.base_url(provider) for provider in ("coinmarketcap", "kraken", "coinpaprika")}
        print(json.dumps(addresses), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
