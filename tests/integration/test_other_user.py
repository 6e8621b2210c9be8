"""Another user of the machine: each port of the running pipeline and each file, tried without its secrets.

If the tests run as root, as in CI, the attempts run as the user `nobody`.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest

from cryptoviz.cluster_record import read_record
from cryptoviz.engines.ray_folder import is_private, ray_folder
from cryptoviz.settings import SPARK_SECRET_VARIABLE, Settings
from tests.support.intruder import (
    answer_of,
    as_another_user,
    exchange,
    grpc_answer,
    http_answer,
    kafka_metadata,
    py4j_callback,
    py4j_static_call,
    python_worker,
    readable,
    spark_rpc,
)
from tests.support.pipeline import Demo, secrets_of
from tests.support.processes import line_of
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration]


@dataclass(frozen=True)
class Listener:
    """A listening socket of the pipeline."""

    ip: str
    port: int
    pid: int
    process: str

    @property
    def address(self) -> tuple[str, int]:
        """Address to connect to."""
        return (self.ip, self.port)


GUARDS = {
    "ray gcs": "token",
    "ray client": "token",
    "ray dashboard": "token",
    "ray agent": "token",
    "ray worker": "token",
    "raylet": "token",
    "control": "token",
    "metrics": "token",
    "object-store": "keys",
    "object-store console": "keys",
    "redis": "password",
    "kafka": "password",
    "kafka controller": "password",
    "market": "anyone on this machine: replayed data",
    "dashboard": "token, except for processes of the owner",
    "spark ui": "anyone on this machine may read",
    "spark": "secret, or Py4J's token",
    "lake callbacks": "token",
    "spark python": "secret",
}
"""Each kind of listener and the credential that it requires."""


def kind_of(one: Listener, settings: Settings) -> str:
    """Row of `GUARDS` for a listener; None for an unknown listener."""
    fixed = {
        settings.ray.gcs_port: "ray gcs",
        settings.ray.client_port: "ray client",
        settings.ray.dashboard_port: "ray dashboard",
        settings.control.port: "control",
        settings.control.metrics_port: "metrics",
        settings.s3.port: "object-store",
        settings.s3.console_port: "object-store console",
        settings.redis.port: "redis",
        settings.kafka.port: "kafka",
        settings.kafka.controller_port: "kafka controller",
        settings.market.port: "market",
        settings.dashboard.port: "dashboard",
        settings.lake.ui_port: "spark ui",
    }
    if one.port in fixed:
        return fixed[one.port]
    patterns = {
        r"^\S*/raylet/raylet ": "raylet",
        r"ray::(DashboardAgent|RuntimeEnvAgent)": "ray agent",
        # First, since the driver's options name the daemon.
        r"SparkSubmit|DefaultWorker": "spark",
        r"spark_jobs\.streaming\.daemon": "spark python",
        r"ray::LakeActor": "lake callbacks",
        r"ray::": "ray worker",
    }
    return next((kind for pattern, kind in patterns.items() if re.search(pattern, one.process)), "unknown")


def family(settings: Settings) -> dict[int, psutil.Process]:
    record = read_record(settings.home)
    assert record is not None
    root = psutil.Process(record.pid)
    return {each.pid: each for each in (root, *root.children(recursive=True))}


def listeners(settings: Settings) -> list[Listener]:
    processes = family(settings)
    found = []
    for each in psutil.net_connections("inet"):
        if each.status == psutil.CONN_LISTEN and each.pid in processes:
            line = line_of(processes[each.pid])
            assert each.laddr
            found.append(Listener(each.laddr.ip.removeprefix("::ffff:"), each.laddr.port, each.pid, line))
    return found


@pytest.fixture(scope="module")
def listening(demo: Demo) -> list[Listener]:
    """Every listener, with the lake's workers and the UI up."""

    def all_there() -> list[Listener]:
        found = listeners(demo.settings)
        assert {kind_of(each, demo.settings) for each in found} == set(GUARDS)  # a process has its title shortly after its start
        return found

    return eventually(all_there, 120, 0.5)


def of_kind(listening: list[Listener], settings: Settings, kind: str) -> list[Listener]:
    found = [each for each in listening if kind_of(each, settings) == kind]
    assert found, kind
    return found


def test_every_port_listens_on_loopback_only_and_is_in_the_list(demo: Demo, listening: list[Listener]) -> None:
    beyond = [each for each in listening if not ipaddress.ip_address(each.ip).is_loopback]
    assert beyond == []
    assert {kind_of(each, demo.settings) for each in listening} == set(GUARDS)


def test_py4j_runs_nothing_without_a_token(demo: Demo, listening: list[Listener]) -> None:
    gateways = of_kind(listening, demo.settings, "spark")
    assert sum("SparkSubmit" in each.process for each in gateways) >= 1
    answers = as_another_user(lambda: [(each.port, py4j_static_call(each.address)) for each in gateways])
    # `!y` is Py4J's success; a refusal is `!x`, a closed connection, or the answer of another protocol.
    assert [answer for answer in answers if answer[1].startswith(b"!y")] == []
    servers = of_kind(listening, demo.settings, "lake callbacks")
    replies = as_another_user(lambda: [(each.port, py4j_callback(each.address)) for each in servers])
    assert [reply for reply in replies if reply[1].startswith(b"!y")] == []


def test_a_callback_is_refused_for_want_of_a_token_and_not_for_its_words(demo: Demo, listening: list[Listener]) -> None:
    """Without a token the server answers `!x` with `Object ID unknown` or a traceback; with one it closes the connection at the first command."""
    servers = of_kind(listening, demo.settings, "lake callbacks")
    replies = as_another_user(lambda: [py4j_callback(each.address) for each in servers])
    assert [reply for reply in replies if reply.startswith(b"!x")] == []


def test_spark_asks_for_its_secret(demo: Demo, listening: list[Listener]) -> None:
    sockets = of_kind(listening, demo.settings, "spark")
    replies = as_another_user(lambda: {each.port: spark_rpc(each.address) for each in sockets})
    # A connection without authentication is closed, possibly after the reason. If authentication were off, it would stay open with the answer
    # that no such message is known. Ray's workers in these JVMs speak HTTP/2: a settings frame;
    # Py4J waits for the end of a line.
    kept = {port: reply for port, (reply, closed) in replies.items() if reply and not closed and reply[3:4] != b"\x04"}
    assert kept == {}
    reasons = [reply for reply, _ in replies.values() if b"Exception" in reply]
    assert [reason for reason in reasons if b"AuthRpcHandler.doAuthChallenge" not in reason] == []
    workers = of_kind(listening, demo.settings, "spark python")
    assert [answer for answer in as_another_user(lambda: [python_worker(each.address) for each in workers]) if b"ok" in answer] == []


def test_the_engines_ask_for_a_password(demo: Demo, listening: list[Listener]) -> None:
    settings = demo.settings
    for kind in ("kafka", "kafka controller"):
        address = of_kind(listening, settings, kind)[0].address
        assert as_another_user(partial(exchange, address, kafka_metadata())) == (b"", True), kind
    redis = of_kind(listening, settings, "redis")[0].address
    for command in (b"PING\r\n", b"CONFIG GET *\r\n", b"SHUTDOWN NOSAVE\r\n", b"FLUSHALL\r\n", b"EVAL return 0\r\n"):
        assert as_another_user(partial(answer_of, redis, command, lambda got: b"\r\n" in got)).startswith(b"-NOAUTH"), command
    s3 = of_kind(listening, settings, "object-store")[0].address
    for path in ("/", f"/{settings.s3.prices_bucket}", f"/{settings.s3.prices_bucket}/_delta_log/00000000000000000000.json"):
        assert as_another_user(partial(http_answer, s3, path))[0] == 403, path


RAY_METHODS = {
    "ray gcs": "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "ray client": "/ray.rpc.RayletDriver/ListNamedActors",
    "ray worker": "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "control": "/cryptoviz.control.v1.ControlService/ListComponents",
}


@pytest.mark.parametrize("kind", sorted(RAY_METHODS))
def test_grpc_asks_for_a_token(demo: Demo, listening: list[Listener], kind: str) -> None:
    codes = {each.port: grpc_answer(each.address, RAY_METHODS[kind]) for each in of_kind(listening, demo.settings, kind)}
    open_now = {each.port for each in listeners(demo.settings)}
    gone = {port for port, code in codes.items() if code == "UNAVAILABLE" and port not in open_now}  # Ray ends idle workers
    assert {code for port, code in codes.items() if port not in gone} == {"UNAUTHENTICATED"}, codes


def test_raylet_and_agents_ask_for_a_token(demo: Demo, listening: list[Listener]) -> None:
    some = [*of_kind(listening, demo.settings, "raylet"), *of_kind(listening, demo.settings, "ray agent")]
    paths = ("/", "/metrics", "/api/job_agent/jobs/", "/logs", "/worker/traceback?pid=1")
    answers = as_another_user(lambda: {(each.port, path): http_answer(each.address, path) for each in some for path in paths})
    assert {key: answer for key, answer in answers.items() if answer[0] not in {0, 400, 401, 403, 404}} == {}


def test_rays_dashboard_asks_for_a_token_for_all_but_its_empty_page(demo: Demo, listening: list[Listener]) -> None:
    address = of_kind(listening, demo.settings, "ray dashboard")[0].address
    paths = (
        "/api/jobs/",
        "/api/version",
        "/nodes",
        "/api/v0/actors",
        "/logical/actors",
        "/logical/kill_actor?actor_id=00",
        "/metrics",
        "/api/serve/applications/",
    )
    assert as_another_user(lambda: {http_answer(address, path)[0] for path in paths}) <= {401, 403, 404}
    job = json.dumps({"entrypoint": "touch /tmp/owned"}).encode()
    assert as_another_user(lambda: http_answer(address, "/api/jobs/", "POST", {"Content-Type": "application/json"}, job)[0]) in {401, 403}


def test_nothing_secret_stands_in_a_process_list_or_a_readable_environment(demo: Demo) -> None:
    settings = demo.settings
    secrets = secrets_of(settings)
    pids = list(family(settings))
    spark = {variable for pid in pids for variable in _environment(pid) if variable.startswith(f"{SPARK_SECRET_VARIABLE}=")}
    assert len(spark) == 1
    secrets += [spark.pop().partition("=")[2]]
    lines, environments = as_another_user(lambda: ([_read(f"/proc/{pid}/cmdline") for pid in pids], [_read(f"/proc/{pid}/environ") for pid in pids]))
    assert any(lines)
    assert [line for line in lines if any(secret.encode() in line for secret in secrets)] == []
    if os.geteuid() == 0:
        assert set(environments) == {b""}


def _environment(pid: int) -> list[str]:
    return _read(f"/proc/{pid}/environ").decode(errors="replace").split("\0")


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def test_no_other_user_enters_rays_folder(demo: Demo) -> None:
    folder = ray_folder(demo.settings)
    assert folder is not None
    assert is_private(folder)
    if os.geteuid() == 0:
        assert as_another_user(lambda: readable(folder)) == []


def test_what_is_loaded_or_written_lies_in_no_folder_that_all_users_share(demo: Demo) -> None:
    """Mapped and open files of each process. HotSpot checks the folder of its performance counters itself."""
    folder = ray_folder(demo.settings)
    shared = [
        path
        for pid in family(demo.settings)
        for path in _mapped_and_open(pid)
        if path.startswith(("/tmp/", "/var/tmp/")) and not path.startswith((f"{folder}/", f"{demo.settings.home}/", "/tmp/hsperfdata_"))
    ]
    assert shared == []


def _mapped_and_open(pid: int) -> Iterator[str]:
    for line in _read(f"/proc/{pid}/maps").decode().splitlines():
        if "/" in line:
            yield line[line.index("/") :]
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for each in descriptors:
        try:
            yield str(each.readlink())
        except OSError:
            continue


def test_home_is_closed_to_others(demo: Demo) -> None:
    home = demo.settings.home
    mode = stat.S_IMODE(home.stat().st_mode)
    assert mode & 0o077 == 0, oct(mode)
    if os.geteuid() == 0:
        assert as_another_user(lambda: readable(home)) == []


def test_the_dashboard_asks_another_user_for_a_token(demo: Demo, listening: list[Listener]) -> None:
    address = of_kind(listening, demo.settings, "dashboard")[0].address
    own = {"Host": f"127.0.0.1:{address[1]}"}
    assert http_answer(address, "/", headers=own)[0] == 200  # the owner's own process
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    answers = as_another_user(lambda: [http_answer(address, path, headers=own)[0] for path in ("/", "/?view=pipeline", "/static/js/bokeh.min.js")])
    assert answers == [303, 303, 401]
