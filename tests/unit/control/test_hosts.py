"""The actors around engines and the dashboard, without Ray: they are plain classes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

import psutil
import pytest
import structlog

from control import dashboard_host, hosts
from control.dashboard_host import DashboardHost
from control.hosts import EngineHost
from cryptoviz.components import Probe
from cryptoviz.errors import EngineUnavailable
from cryptoviz.settings import Settings, load_settings
from tests.helpers import eventually_async, free_port

PAGE = """
import http.server, os, sys
from cryptoviz.settings import settings_from_environment
settings = settings_from_environment()
print("key", settings.s3.secret_key.get_secret_value() == "canary", "canary" in " ".join(sys.argv), flush=True)
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", settings.dashboard.port), Page).serve_forever()
"""


class FakeEngine:
    """Notes the thread of each call."""

    name = "redis"
    url = None
    pid = 9

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.gate = threading.Event()

    def start(self) -> None:
        self.gate.wait(10)
        self.calls.append(("start", threading.current_thread().name))

    def stop(self, grace_s: float = 10.0) -> None:
        self.calls.append(("stop", threading.current_thread().name))

    def probe(self) -> Probe:
        return Probe(running=True, healthy=True, pid=9)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings("live", home=tmp_path, dashboard={"port": free_port()}, s3={"secret_key": "canary"})


@pytest.fixture(autouse=True)
def log_as_before() -> object:
    yield
    structlog.reset_defaults()


async def test_an_engine_host_answers_probes_while_it_starts(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    monkeypatch.setattr(hosts, "build_engine", lambda name, settings: engine)
    host = EngineHost(settings, "redis")
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
    await EngineHost(settings, "redis").stop()


async def test_the_dashboard_process_starts_dies_and_starts_again(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "page.py"
    script.write_text(PAGE)
    monkeypatch.setattr(dashboard_host, "_COMMAND", (sys.executable, str(script)))
    host = DashboardHost(settings)
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


async def test_a_dashboard_that_ends_at_once_says_why(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_host, "_COMMAND", (sys.executable, "-c", "raise SystemExit('port 5006 is taken')"))
    host = DashboardHost(settings)
    with pytest.raises(EngineUnavailable, match="its process ended: port 5006 is taken"):
        await host.start()
    await host.stop()


async def test_a_dashboard_that_hangs_has_a_deadline(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_host, "_COMMAND", (sys.executable, "-c", "import threading; threading.Event().wait()"))
    monkeypatch.setattr(dashboard_host, "_DASHBOARD_START_S", 0.5)
    host = DashboardHost(settings)
    with pytest.raises(EngineUnavailable, match="does not answer within"):
        await host.start()
    await host.stop()


async def _down(host: DashboardHost) -> bool:
    return not (await host.probe()).running
