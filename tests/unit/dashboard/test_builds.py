"""Limits of page builds and their queue, with the real server."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bokeh.util.token import generate_jwt_token, generate_session_id
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from cryptoviz.errors import QueueFull
from dashboard.builds import PageBuilds
from tests.support.dashboard_server import exchange, new_app_context, serving

KEY = b"k" * 32


async def test_turns_are_taken_one_by_one_and_the_queue_is_bounded() -> None:
    builds = PageBuilds(at_once=1, waiting=2)
    go = asyncio.Event()

    async def build() -> str:
        try:
            async with builds.turn():
                assert builds.running == 1
                await go.wait()
            return "built"
        except QueueFull as error:
            return f"refused at {error.limit}"

    tasks = []
    for _ in range(5):
        tasks.append(asyncio.create_task(build()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert (builds.running, builds.waiting) == (1, 2)
    go.set()
    assert sorted(await asyncio.gather(*tasks)) == ["built", "built", "built", "refused at 2", "refused at 2"]
    assert (builds.running, builds.waiting, builds.most_running, builds.refused) == (0, 0, 1, 2)


async def test_the_server_builds_one_page_at_a_time_and_lets_32_wait() -> None:
    builds, go = PageBuilds(), asyncio.Event()

    async def build() -> None:
        async with builds.turn():
            await go.wait()

    tasks = [asyncio.create_task(build()) for _ in range(33)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (builds.running, builds.waiting) == (1, 32)
    with pytest.raises(QueueFull):
        await build()
    go.set()
    await asyncio.gather(*tasks)
    assert (builds.most_running, builds.refused) == (1, 1)


async def test_a_build_that_fails_or_is_given_up_frees_its_turn() -> None:
    builds = PageBuilds(at_once=1, waiting=2)
    with pytest.raises(ValueError, match="broken"):
        async with builds.turn():
            raise ValueError("broken")
    async with builds.turn():
        waiter = asyncio.create_task(builds.turn().__aenter__())
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
    assert (builds.running, builds.waiting) == (0, 0)
    async with builds.turn():
        assert builds.running == 1


def test_twenty_first_visits_at_once_are_built_in_turns_while_health_answers(tmp_path: Path) -> None:
    builds = PageBuilds(at_once=1, waiting=8)
    with new_app_context(tmp_path) as app_context, serving(app_context, builds=builds):
        port = app_context.settings.dashboard.port
        head = f"HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
        with ThreadPoolExecutor(21) as pool:
            visits = [pool.submit(exchange, port, f"GET / {head}") for _ in range(20)]
            health = []
            while not all(visit.done() for visit in visits):
                health.append((exchange(port, f"GET /healthz {head}")[0], sum(visit.done() for visit in visits)))
        answers = [visit.result() for visit in visits]
    # Health was served between the builds: at several moments only some pages were complete.
    assert {status for status, _ in health} == {200}
    assert len({done for _, done in health if 0 < done < 20}) >= 2
    statuses = [status for status, _, _ in answers]
    assert builds.most_running == 1
    assert statuses.count(503) == builds.refused >= 1
    assert statuses.count(200) == 20 - builds.refused >= 8
    for status, headers, body in answers:
        if status == 503:
            assert headers["retry-after"] == "3"
            assert b'http-equiv="refresh"' in body


def test_open_pages_are_built_in_turns_too(tmp_path: Path) -> None:
    # Eight concurrent WebSockets of unknown sessions, as after a restart of the server: a page is built for each.
    builds = PageBuilds(at_once=1, waiting=8)
    with new_app_context(tmp_path) as app_context, serving(app_context, builds=builds, session_key=KEY):
        port = app_context.settings.dashboard.port

        async def opened() -> str:
            token = generate_jwt_token(generate_session_id(KEY, signed=True), KEY, signed=True)
            request = HTTPRequest(f"ws://127.0.0.1:{port}/ws", headers={"Origin": f"http://localhost:{port}"}, request_timeout=60)
            connection = await websocket_connect(request, subprotocols=["bokeh", token])
            header = str(await connection.read_message())
            connection.close()
            # Until the server has closed it, too: the loop that ends before would leave the socket open.
            while await connection.read_message() is not None:
                continue
            return str(json.loads(header)["msgtype"])

        async def all_opened() -> list[str]:
            return await asyncio.gather(*(opened() for _ in range(8)))

        assert asyncio.run(all_opened()) == ["ACK"] * 8
        assert exchange(port, f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")[0] == 200
    assert (builds.most_running, builds.refused) == (1, 0)
