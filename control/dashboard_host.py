"""The Ray actor around the dashboard's process, which dies with it, whatever ends that."""

from __future__ import annotations

import asyncio
import sys

import httpx

from cryptoviz.components import Probe
from cryptoviz.errors import EngineUnavailable
from cryptoviz.log import get_logger, log_path, log_to_file
from cryptoviz.services.process import ChildProcess
from cryptoviz.settings import SETTINGS_FILE_VARIABLE, Settings, child_environment, dump_settings_file

__all__ = ["DashboardHost"]

_COMMAND = (sys.executable, "-m", "dashboard")
_POLL_S = 0.2
_PROBE_TIMEOUT_S = 1.5
_STOP_GRACE_S = 8.0
_DASHBOARD_START_S = 110.0
"""Below the 120 s that the controller gives the start, so that the reason reaches it."""


class DashboardHost:
    """`python -m dashboard` as a child process. Settings go to it in a file of mode 0600, never in arguments."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._child: ChildProcess | None = None
        self._url = f"http://{settings.dashboard.host}:{settings.dashboard.port}"

    async def start(self) -> None:
        """Start the process; returns when its page answers.

        Raises:
            EngineUnavailable: it ended, or its page does not answer in time; the message ends with the last line of its log.
        """
        if self._child is None:
            log_to_file(self._settings, "dashboard")
            settings_file = self._settings.run_dir / "dashboard-settings.json"
            await asyncio.to_thread(dump_settings_file, self._settings, settings_file)
            environment = child_environment({SETTINGS_FILE_VARIABLE: str(settings_file)})
            self._child = ChildProcess("dashboard", _COMMAND, log_path(self._settings, "dashboard"), env=environment)
        await asyncio.to_thread(self._child.start)
        try:
            async with asyncio.timeout(_DASHBOARD_START_S):
                await self._wait_for_page(self._child)
        except TimeoutError:
            raise self._failed(self._child, f"its page does not answer within {_DASHBOARD_START_S:.0f} s") from None

    async def stop(self) -> None:
        """End the process."""
        if self._child is not None:
            await asyncio.to_thread(self._child.stop, _STOP_GRACE_S)
            get_logger("dashboard").info("stopped")

    async def probe(self) -> Probe:
        """Whether its page answers."""
        if self._child is None or not self._child.running:
            return Probe(running=False, healthy=False, message="its process ended" if self._child else "not started")
        problem = await self._page_problem()
        return Probe(running=True, healthy=not problem, message=problem, pid=self._child.pid, url=self._url)

    async def _wait_for_page(self, child: ChildProcess) -> None:
        while await self._page_problem():
            if not child.running:
                raise self._failed(child, "its process ended")
            await asyncio.sleep(_POLL_S)

    async def _page_problem(self) -> str:
        """Empty when the liveness page answers 200."""
        try:
            # trust_env off: a proxy setting of the shell must not redirect a loopback call.
            async with httpx.AsyncClient(timeout=_PROBE_TIMEOUT_S, trust_env=False) as http:
                answer = await http.get(f"{self._url}/healthz")
        except httpx.HTTPError as error:
            return f"{self._url} does not answer: {type(error).__name__}"
        return "" if answer.status_code == httpx.codes.OK else f"{self._url}/healthz answers {answer.status_code}"

    @staticmethod
    def _failed(child: ChildProcess, what: str) -> EngineUnavailable:
        last = child.tail(1).strip()
        return EngineUnavailable(f"{what}: {last}" if last else what, engine="dashboard")
