"""All outputs of a running pipeline as pairs of place and content, for tests that search them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import redis
from pyarrow import fs
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from cryptoviz.client import ControlClient
from cryptoviz.errors import CryptoVizError
from cryptoviz.kafka import admin_client
from cryptoviz.lake.topic_reader import read_topic
from cryptoviz.settings import SPARK_SECRET_VARIABLE, Settings
from tests.support.files import files_in
from tests.support.intruder import as_another_user
from tests.support.pipeline import Demo
from tests.support.processes import processes_of
from tests.support.waiting import eventually_async

__all__ = [
    "Output",
    "arguments",
    "control_client",
    "control_service",
    "environments",
    "files",
    "holds_secrets",
    "kafka_records",
    "objects",
    "page",
    "ray_dashboard",
    "redis_values",
    "spark_secret",
    "spark_ui",
]

Output = tuple[str, str | bytes]

_SETTINGS = ("settings.json", "dashboard-settings.json", "maintenance-settings.json")
_HOLDERS = {*_SETTINGS, "credentials.json", "control.token", "ray.token", "minio.password", "server.properties", "valkey.conf"}
"""Files that hold secrets on purpose, each for its owner alone."""


def control_service(pipeline: Demo) -> Iterator[Output]:
    """States, logs, lists, and responses to invalid calls of the control service."""
    with pipeline.control() as client:
        status = client.list()
        yield "pipeline", repr(status)
        for each in status.components:
            yield each.name, repr(client.get(each.name))
            yield f"log of {each.name}", "\n".join(client.tail_logs(each.name, 2000))
        yield "providers", repr(client.providers())
        yield "gaps", repr(client.gaps())
        yield "operations", repr(client.operations.list())
        yield "watch", repr(next(client.watch()))
        yield "unknown component", _refusal(client, "scraper/http://user:password@host")
    with control_client(pipeline.settings, "wrong") as stranger:
        yield "wrong token", _refusal(stranger, "lake")


def control_client(settings: Settings, token: str) -> ControlClient:
    """A client with a token, and the certificates of the settings."""
    control = settings.control
    roots, certificate, key = control.tls_cert, control.tls_client_cert, control.tls_client_key
    return ControlClient(control.address, token=token, root_certificates=roots, client_certificate=certificate, client_key=key, timeout_s=60)


def _refusal(client: ControlClient, name: str) -> str:
    try:
        return repr(client.get(name))
    except CryptoVizError as error:
        return f"{error!r} {vars(error)}"


async def page(pipeline: Demo, wanted: str) -> list[Output]:
    """All views of the dashboard: the HTML, which has what the view shows first, once that of the pipeline contains `wanted`; and the document."""
    found: list[Output] = []
    for view in ("market", "coin", "pipeline", "providers", "topics", "lake", "alerts"):
        # Services are asked when a page is built; a later one shows what they said.
        found += await eventually_async(partial(_view, pipeline, view, wanted if view == "pipeline" else ""), 120, 1)
    return found


async def _view(pipeline: Demo, view: str, wanted: str) -> list[Output]:
    async with httpx.AsyncClient(trust_env=False, timeout=120) as client:
        answer = (await client.get(f"{pipeline.page}?view={view}")).raise_for_status()
    (token,) = set(re.findall(r'"token":\s*"([^"]+)"', answer.text))
    request = HTTPRequest(
        pipeline.page.replace("http:", "ws:") + "ws", headers={"Origin": pipeline.page.rstrip("/")}, connect_timeout=60, request_timeout=60
    )
    connection = await websocket_connect(request, subprotocols=["bokeh", token])

    async def content_of(kind: str) -> str:
        """The content of the next message of a kind, after its header and metadata."""
        message: str | bytes | None = ""
        while f'"{kind}"' not in str(message):
            message = await connection.read_message()
            assert message is not None
        await connection.read_message()
        return str(await connection.read_message())

    try:
        await content_of("ACK")
        for part in ({"msgid": "PULL-DOC-REQ", "msgtype": "PULL-DOC-REQ"}, {}, {}):
            await connection.write_message(json.dumps(part))
        document = await content_of("PULL-DOC-REPLY")
    finally:
        connection.close()
    return [(f"html of {view}", answer.text), (f"document of {view}", document)] if wanted in answer.text else []


def spark_ui(settings: Settings) -> Iterator[Output]:
    """Pages and REST interface of Spark's UI."""
    ui = f"http://127.0.0.1:{settings.lake.ui_port}"
    with httpx.Client(trust_env=False, follow_redirects=True, timeout=120) as client:
        application = client.get(f"{ui}/api/v1/applications").json()[0]["id"]
        api = f"/api/v1/applications/{application}"
        paths = ["/jobs/", "/stages/", "/storage/", "/environment/", "/executors/", "/SQL/", "/StreamingQuery/"]
        paths += [f"{api}/{what}" for what in ("environment", "jobs", "stages", "allexecutors", "sql?details=true&planDescription=true&length=50")]
        yield from _pages(client, ui, paths)


def ray_dashboard(settings: Settings) -> Iterator[Output]:
    """Ray's dashboard, with its token."""
    head = f"http://127.0.0.1:{settings.ray.dashboard_port}"
    token = {"Authorization": f"Bearer {settings.ray_token_file.read_text().strip()}"}
    with httpx.Client(trust_env=False, headers=token, follow_redirects=True, timeout=120) as client:
        kinds = ("actors", "nodes", "workers", "tasks", "jobs", "objects", "runtime_envs", "placement_groups", "cluster_events")
        paths = [f"/api/v0/{kind}?detail=true&limit=1000" for kind in kinds]
        paths += ["/nodes?view=summary", "/logical/actors", "/api/jobs/", "/api/cluster_status", "/api/version"]
        yield from _pages(client, head, paths)
        node = client.get(f"{head}/api/v0/nodes").json()["data"]["result"]["result"][0]["node_id"]
        yield from _pages(client, head, [f"/api/v0/logs?node_id={node}"])
        listed = client.get(f"{head}/api/v0/logs?node_id={node}").json()["data"]["result"]
        names = [name for names in listed.values() for name in names if name.endswith((".out", ".err", ".log"))]
        yield from _pages(client, head, [f"/api/v0/logs/file?node_id={node}&filename={name}&lines=1000" for name in names])


def _pages(client: httpx.Client, address: str, paths: list[str]) -> Iterator[Output]:
    for path in paths:
        answer = client.get(f"{address}{path}")
        assert answer.is_success, (path, answer.status_code, answer.text[:300])
        yield path, answer.content


def arguments(settings: Settings) -> Iterator[Output]:
    """Arguments of every process, as another user reads them."""
    pids = [process.pid for process in processes_of(settings.home)]
    lines = as_another_user(lambda: {pid: _read(Path(f"/proc/{pid}/cmdline")) for pid in pids})
    yield from ((f"{pid} {line[:60]!r}", line) for pid, line in lines.items())


def environments(settings: Settings) -> Iterator[Output]:
    """Environment of every process, as its owner reads it, except the variable that intentionally contains a secret; no other user can read it."""
    processes = processes_of(settings.home)
    if os.geteuid() == 0:
        assert set(as_another_user(lambda: {_read(Path(f"/proc/{process.pid}/environ")) for process in processes})) == {b""}
    for process in processes:
        values = {name: value for name, value in _environment(process).items() if name != SPARK_SECRET_VARIABLE}
        yield str(process.pid), "\n".join(f"{name}={value}" for name, value in values.items())


def spark_secret(settings: Settings) -> str:
    """The secret of Spark's processes."""
    found = {_environment(process).get(SPARK_SECRET_VARIABLE) for process in processes_of(settings.home)} - {None}
    (secret,) = found
    assert secret
    return secret


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def kafka_records(settings: Settings) -> Iterator[Output]:
    """Key, headers and value of every record; the broker's internal topics are covered by its files."""
    for topic in admin_client(settings.kafka).list_topics(timeout=15).topics:
        if not topic.startswith("__"):
            for one in read_topic(settings.kafka, topic):
                yield f"{topic} {one.partition()}/{one.offset()}", b"\n".join((one.key() or b"", repr(one.headers()).encode(), one.value() or b""))


def objects(pipeline: Demo, *, of_logs: bool) -> Iterator[Output]:
    """Every object of every bucket: either those of table logs, or all others."""
    store = pipeline.s3()
    for bucket in (pipeline.settings.s3.prices_bucket, pipeline.settings.s3.lake_bucket):
        for info in store.get_file_info(fs.FileSelector(bucket, recursive=True)):
            if info.is_file and ("/_delta_log/" in info.path) == of_logs:
                try:
                    yield info.path, store.open_input_file(info.path).read()
                except OSError as error:
                    # removed by maintenance
                    if not isinstance(error, FileNotFoundError) and "RESOURCE_NOT_FOUND" not in str(error):
                        raise


def redis_values(client: redis.Redis) -> Iterator[Output]:
    """Every key, and the server's information about itself and its clients."""
    for key in client.scan_iter():
        kind = client.type(key)
        value: Any
        if kind == b"string":
            value = client.get(key)
        elif kind == b"hash":
            value = client.hgetall(key)
        elif kind == b"list":
            value = client.lrange(key, 0, -1)
        elif kind == b"set":
            value = client.smembers(key)
        elif kind == b"zset":
            value = client.zrange(key, 0, -1, withscores=True)
        else:
            value = client.xrange(key)
        yield repr(key), repr(value)
    yield "INFO", repr(client.info("all"))
    yield "CLIENT LIST", repr(client.client_list())
    yield "SLOWLOG", repr(client.slowlog_get(100))


def holds_secrets(path: Path) -> bool:
    """A file that intentionally contains secrets, or its temporary version."""
    return path.name in _HOLDERS or (path.suffix == ".tmp" and any(path.name.startswith(f"{name}.") for name in _HOLDERS))


def files(folder: Path) -> Iterator[Output]:
    """All files below it except those that intentionally contain secrets, which other users cannot read."""
    for path in files_in(folder):
        try:
            if holds_secrets(path):
                assert path.stat().st_mode & 0o077 == 0, path
                continue
            yield str(path), path.read_bytes()
        except FileNotFoundError:
            continue
