"""The component of the dashboard's process, which never outlives the process of the component."""

from __future__ import annotations

import asyncio
import sys
import time
from http import HTTPStatus
from ipaddress import ip_address

from cryptoviz.components import DASHBOARD, Probe
from cryptoviz.engines.process import ChildProcess, SerialThread
from cryptoviz.errors import EngineUnavailable
from cryptoviz.local.heartbeat import HEARTBEAT_FILE, LIVENESS_PATH, seconds_since_beat
from cryptoviz.log import get_logger
from cryptoviz.settings import SETTINGS_FILE_VARIABLE, Settings, child_environment, dump_settings_file
from cryptoviz.telemetry.log_files import log_path, log_to_file

__all__ = ["DashboardActor"]

_COMMAND = (sys.executable, "-m", "dashboard")
_POLL_S = 0.2
_PROBE_TIMEOUT_S = 1.5
_STOP_GRACE_S = 3.0
"""The page has nothing to save."""
_DEAD_S = 15.0
"""Event loop heartbeat timeout. A page takes a second or two to build on a busy machine; the loop beats between two builds."""
_SILENT_S = 60.0
"""Timeout for a port that does not answer although the loop runs, as without free file descriptors."""
_DASHBOARD_START_S = 110.0
"""Below the controller's start timeout of 120 s, so that the reason is reported."""


class DashboardActor:
    """Runs `python -m dashboard` as a child process. Settings are passed in a file of mode 0600, never in arguments."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._child: ChildProcess | None = None
        self._start_stop = SerialThread("dashboard-start-stop")
        self._host = _reached_at(settings.dashboard.host)
        self._url = f"http://{self._host}:{settings.dashboard.port}"
        self._settings_file = settings.run_dir / "dashboard-settings.json"
        self._beats = settings.run_dir / HEARTBEAT_FILE
        self._answered = time.monotonic()

    async def start(self) -> None:
        """Start the process and return when its page answers.

        Raises:
            EngineUnavailable: the process ended, or its page does not answer in time; the message ends with the last line of its log.
        """
        if self._child is None:
            log_to_file(self._settings, DASHBOARD)
            environment = child_environment({SETTINGS_FILE_VARIABLE: str(self._settings_file)})
            self._child = ChildProcess(DASHBOARD, _COMMAND, log_path(self._settings, DASHBOARD), env=environment)
        await self._start_stop.run(self._launch, self._child)
        self._answered = time.monotonic()
        try:
            async with asyncio.timeout(_DASHBOARD_START_S):
                await self._wait_for_page(self._child)
        except TimeoutError:
            raise self._failed(self._child, f"its page did not answer within {_DASHBOARD_START_S:.0f} s") from None

    async def stop(self) -> None:
        if self._child is not None:
            await self._start_stop.run(self._child.stop, _STOP_GRACE_S)
            get_logger("dashboard").info("stopped")

    async def kill(self) -> None:
        """SIGKILL of the process, also during a start or stop."""
        if self._child is not None:
            await asyncio.to_thread(self._child.stop, 0.0)
            await self._start_stop.run(self._child.stop, 0.0)

    async def probe(self) -> Probe:
        """Healthy if the event loop runs and the page answers. A late answer of a busy loop is not a fault."""
        if self._child is None or not self._child.running:
            return Probe(running=False, healthy=False, message="its process ended" if self._child else "not started")
        pid = self._child.pid
        late_s = None if pid is None else await asyncio.to_thread(seconds_since_beat, self._beats, pid)
        problem = await self._page_problem()
        if not problem:
            self._answered = time.monotonic()
        silent_s = time.monotonic() - self._answered
        if late_s is None or late_s >= _DEAD_S:
            seen = "has not run yet" if late_s is None else f"last ran {late_s:.0f} s ago"
            return Probe(running=True, healthy=False, message="; ".join(filter(None, (problem, f"its event loop {seen}"))), pid=pid, url=self._url)
        if problem and silent_s >= _SILENT_S:
            return Probe(running=True, healthy=False, message=f"{problem} for {silent_s:.0f} s, though its event loop runs", pid=pid, url=self._url)
        message = f"busy: its event loop last ran {late_s:.1f} s ago" if problem else ""
        return Probe(running=True, healthy=True, message=message, metrics={"loop_lag_s": late_s}, pid=pid, url=self._url)

    def _launch(self, child: ChildProcess) -> None:
        if not child.running:
            dump_settings_file(self._settings, self._settings_file)
            child.start()

    async def _wait_for_page(self, child: ChildProcess) -> None:
        while await self._page_problem():
            if not child.running:
                raise self._failed(child, "its process ended")
            await asyncio.sleep(_POLL_S)

    async def _page_problem(self) -> str:
        """Why the liveness page is not OK; empty if it returns 200."""
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                status = await _status(self._host, self._settings.dashboard.port)
        except (OSError, ValueError) as error:  # OSError: also TimeoutError
            return f"{self._url} does not answer: {type(error).__name__}"
        return "" if status == HTTPStatus.OK else f"{self._url}{LIVENESS_PATH} returned {status}"

    @staticmethod
    def _failed(child: ChildProcess, what: str) -> EngineUnavailable:
        last = child.tail(1).strip()
        return EngineUnavailable(f"{what}: {last}" if last else what, engine="dashboard")


async def _status(host: str, port: int) -> int:
    """Status of the liveness page, by a connection of its own, since a probe also tests that the page accepts one. An HTTP client would take seven
    times the processor time. Raises OSError, ValueError.
    """
    answer, request = await asyncio.open_connection(host.strip("[]"), port)
    try:
        request.write(f"GET {LIVENESS_PATH} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        version, status, *_ = (await answer.readline()).split(b" ", 2)
        if not version.startswith(b"HTTP/"):
            raise ValueError(version)
        return int(status)
    finally:
        request.close()


def _reached_at(host: str) -> str:
    """The bind address as the host of a URL: a wildcard becomes loopback, IPv6 gets brackets."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return str(address) if address.version == 4 else f"[{address}]"
