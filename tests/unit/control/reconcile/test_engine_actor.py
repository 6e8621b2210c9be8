"""The actors of engines and dashboard, without Ray, as plain classes."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
import threading
from pathlib import Path

import psutil
import pytest
import structlog

from control.reconcile import dashboard_actor as dashboard_host
from control.reconcile import engine_actor as hosts
from control.reconcile.dashboard_actor import DashboardActor
from control.reconcile.engine_actor import EngineActor
from cryptoviz.components import Probe
from cryptoviz.engines.embedded import EmbeddedEngine
from cryptoviz.engines.ports import PortUse
from cryptoviz.errors import EngineUnavailable
from cryptoviz.settings import Settings, load_settings
from tests.support.ports import free_port
from tests.support.processes import children_with
from tests.support.waiting import eventually_async

PAGE = """
import http.server, os, sys
from cryptoviz.local.heartbeat import HEARTBEAT_FILE, Heartbeat
from cryptoviz.settings import settings_from_environment
settings = settings_from_environment()
beats = Heartbeat(settings.run_dir / HEARTBEAT_FILE)
print("key", settings.s3.secret_key.get_secret_value() == "canary-key", "canary-key" in " ".join(sys.argv), flush=True)
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", settings.dashboard.port), Page).serve_forever()
"""


class FakeEngine:
    """Records the thread of each call."""

    name = "redis"
    url = None
    pid = 9

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.gate = threading.Event()

    def start(self) -> None:
        self.gate.wait(300)
        self.calls.append(("start", threading.current_thread().name))

    def stop(self, grace_s: float = 10.0) -> None:
        self.calls.append(("stop", threading.current_thread().name))

    def kill(self) -> None:
        self.gate.set()
        self.calls.append(("kill", threading.current_thread().name))

    def probe(self) -> Probe:
        return Probe(running=True, healthy=True, pid=9)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings("live", home=tmp_path, dashboard={"port": free_port()}, s3={"secret_key": "canary-key"})


@pytest.fixture(autouse=True)
def log_as_before() -> object:
    yield
    structlog.reset_defaults()


async def test_an_engine_host_answers_probes_while_it_starts(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    monkeypatch.setattr(hosts, "build_engine", lambda *_: engine)
    host = EngineActor(settings, "redis")
    assert not (await host.probe()).running
    starting = asyncio.create_task(host.start())
    await asyncio.sleep(0)
    assert not (await host.probe()).running
    engine.gate.set()
    await starting
    assert (await host.probe()).pid == 9
    await host.start()
    await host.stop()
    assert not (await host.probe()).running
    assert [verb for verb, _ in engine.calls] == ["start", "start", "stop"]
    assert len({thread for _, thread in engine.calls}) == 1


async def test_an_engine_host_that_never_started_stops_quietly(settings: Settings) -> None:
    await EngineActor(settings, "redis").stop()
    await EngineActor(settings, "redis").kill()


@pytest.mark.parametrize("verb", ["kill", "stop"])
async def test_a_start_that_waits_is_ended_and_not_waited_for(settings: Settings, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    engine = FakeEngine()
    monkeypatch.setattr(hosts, "build_engine", lambda *_: engine)
    host = EngineActor(settings, "redis")
    starting = asyncio.create_task(host.start())
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await getattr(host, verb)()
        await starting
    assert [verb for verb, _ in engine.calls] == ["kill", "start", "stop"]
    assert not (await host.probe()).running


async def test_probes_that_hang_use_up_no_thread_of_others(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """More probes than asyncio has threads, which are 32 at most."""
    hanging, other = FakeEngine(), FakeEngine()
    hanging.gate.set()
    other.gate.set()
    monkeypatch.setattr(hosts, "build_engine", lambda name, *_: hanging if name == "kafka" else other)
    kafka, redis = (EngineActor(settings, name) for name in ("kafka", "redis"))
    await asyncio.gather(kafka.start(), redis.start())
    ends = threading.Event()
    monkeypatch.setattr(hanging, "probe", lambda: ends.wait(300))
    probes = [asyncio.create_task(kafka.probe()) for _ in range(40)]
    try:
        async with asyncio.timeout(60):
            assert (await redis.probe()).pid == 9
            await kafka.kill()
    finally:
        ends.set()
        await asyncio.gather(*probes)


class Silent(EmbeddedEngine):
    """Never answers. Its command is known once `ready` is set."""

    name = "redis"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.preparing, self.ready = threading.Event(), threading.Event()

    def ports(self) -> tuple[PortUse, ...]:
        return ()

    def command(self) -> tuple[str, ...]:
        self.preparing.set()
        self.ready.wait(300)
        return (sys.executable, "-c", "import threading; threading.Event().wait()", str(self._settings.home))

    def ask(self) -> tuple[str, dict[str, float]]:
        raise EngineUnavailable("silent", engine=self.name)

    def prepare(self) -> None: ...

    def close(self) -> None: ...


async def test_a_kill_before_the_engine_has_its_process_ends_the_start(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """As while Kafka's storage is formatted: the start would wait a minute for the broker's answer."""
    engine = Silent(settings)
    monkeypatch.setattr(hosts, "build_engine", lambda *_: engine)
    host = EngineActor(settings, "redis")
    starting = asyncio.create_task(host.start())
    await asyncio.to_thread(engine.preparing.wait, 120)
    killing = asyncio.create_task(host.kill())
    await asyncio.wait([killing], timeout=0.3)
    engine.ready.set()
    async with asyncio.timeout(60):
        await killing
        with pytest.raises(EngineUnavailable, match="redis was killed during its start"):
            await starting
    assert not children_with(str(settings.home))


async def test_the_dashboard_process_starts_dies_and_starts_again(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "page.py"
    script.write_text(PAGE)
    monkeypatch.setattr(dashboard_host, "_COMMAND", (sys.executable, str(script)))
    host = DashboardActor(settings)
    assert not (await host.probe()).running
    await host.start()
    probe = await host.probe()
    assert (probe.running, probe.healthy, probe.url) == (True, True, f"http://127.0.0.1:{settings.dashboard.port}")
    assert probe.pid is not None
    os.kill(probe.pid, signal.SIGKILL)
    await eventually_async(lambda: _down(host))
    await host.start()
    again = await host.probe()
    assert again.healthy
    assert again.pid not in (None, probe.pid)
    await host.stop()
    assert not psutil.pid_exists(again.pid or 0)
    assert not (await host.probe()).running
    assert (settings.log_dir / "dashboard.log").read_text().count("key True False") == 2


HANGING = """
import http.server, os, sys, threading
from cryptoviz.local.heartbeat import HEARTBEAT_FILE, Heartbeat
from cryptoviz.settings import settings_from_environment
settings = settings_from_environment()
beats = Heartbeat(settings.run_dir / HEARTBEAT_FILE)
served = 0
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global served
        served += 1
        if served > 1:
            threading.Event().wait()
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", settings.dashboard.port), Page).serve_forever()
"""


async def test_a_busy_page_is_healthy_and_a_dead_loop_is_not(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The page answers only its first request. With a recent heartbeat it is busy; without a heartbeat for longer
    # than any build it is dead.
    script = tmp_path / "page.py"
    script.write_text(HANGING)
    monkeypatch.setattr(dashboard_host, "_COMMAND", (sys.executable, str(script)))
    monkeypatch.setattr(dashboard_host, "_PROBE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(dashboard_host, "_DEAD_S", 1000.0)
    host = DashboardActor(settings)
    await host.start()
    try:
        busy = await host.probe()
        assert (busy.running, busy.healthy) == (True, True)
        assert "busy: its event loop last ran" in busy.message
        monkeypatch.setattr(dashboard_host, "_DEAD_S", 0.0)
        dead = await host.probe()
        assert (dead.running, dead.healthy) == (True, False)
        assert "does not answer" in dead.message
        assert "its event loop last ran" in dead.message
        monkeypatch.setattr(dashboard_host, "_DEAD_S", 1000.0)
        monkeypatch.setattr(dashboard_host, "_SILENT_S", 0.0)
        silent = await host.probe()
        assert (silent.running, silent.healthy) == (True, False)
        assert "though its event loop runs" in silent.message
    finally:
        await host.stop()


async def test_a_probe_of_the_page_prepares_no_tls(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A TLS context reads all certificate authorities, which takes 55 ms of processor time.
    script = tmp_path / "page.py"
    script.write_text(PAGE)
    monkeypatch.setattr(dashboard_host, "_COMMAND", (sys.executable, str(script)))
    host = DashboardActor(settings)
    await host.start()
    try:
        monkeypatch.setattr(ssl, "create_default_context", None)
        assert (await host.probe()).healthy
    finally:
        await host.stop()


@pytest.mark.parametrize(
    ("bind", "url"),
    [("0.0.0.0", "http://127.0.0.1:5006"), ("::", "http://[::1]:5006"), ("::1", "http://[::1]:5006"), ("10.0.0.7", "http://10.0.0.7:5006")],
)
async def test_the_page_is_probed_where_it_can_be_reached(tmp_path: Path, bind: str, url: str) -> None:
    assert DashboardActor(load_settings("live", home=tmp_path, dashboard={"host": bind, "port": 5006}))._url == url


async def test_a_dashboard_that_ends_at_once_says_why(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_host, "_COMMAND", (sys.executable, "-c", "raise SystemExit('port 5006 is taken')"))
    host = DashboardActor(settings)
    with pytest.raises(EngineUnavailable, match="its process ended: port 5006 is taken"):
        await host.start()
    await host.stop()


async def test_a_dashboard_that_hangs_has_a_deadline(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_host, "_COMMAND", (sys.executable, "-c", "import threading; threading.Event().wait()"))
    monkeypatch.setattr(dashboard_host, "_DASHBOARD_START_S", 0.5)
    host = DashboardActor(settings)
    with pytest.raises(EngineUnavailable, match="did not answer within"):
        await host.start()
    await host.stop()


async def _down(host: DashboardActor) -> bool:
    return not (await host.probe()).running
