"""Runs a maintenance round as a child process and reads its progress and result."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

from cryptoviz.engines.process import ChildProcess
from cryptoviz.errors import EngineUnavailable
from cryptoviz.log import log_path
from cryptoviz.settings import SETTINGS_FILE_VARIABLE, Settings, child_environment, dump_settings_file
from spark_jobs.maintenance.result import RoundResult

__all__ = ["RoundProcess"]

_POLL_S = 0.2
_STOP_GRACE_S = 5.0
# Return freed memory to the system: the merge of a day of 734 400 rows takes at most 300 MB, with Arrow's own allocator 460 MB.
_FRUGAL = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072"}


class RoundProcess:
    """Runs one round at a time. `name` makes its file names unique. The child process ends with this process."""

    def __init__(self, settings: Settings, name: str, tables: tuple[str, ...] = ()) -> None:
        self._settings = settings
        self._tables = tables
        self._settings_file = settings.run_dir / f"{name}-settings.json"
        self._result = settings.run_dir / f"{name}-result.json"
        self._child: ChildProcess | None = None

    async def run(self, say: Callable[[str], None] = lambda _: None) -> RoundResult:
        """Run a round and wait for its end; `say` receives its progress text. Cancellation ends the child process; the next round continues its work.

        Raises:
            EngineUnavailable: the child process ended without a result.
        """
        await asyncio.to_thread(self._prepare)
        command = (sys.executable, "-m", "spark_jobs.maintenance.round", str(self._result), *self._tables)
        environment = child_environment({SETTINGS_FILE_VARIABLE: str(self._settings_file), **_FRUGAL})
        child = self._child = ChildProcess("maintenance", command, log_path(self._settings, "maintenance"), env=environment)
        try:
            await asyncio.to_thread(child.start)
            while child.running:
                await asyncio.sleep(_POLL_S)
                say(_read(self._result.with_suffix(".progress")))
            return self._read_result(child)
        finally:
            await asyncio.to_thread(child.stop, _STOP_GRACE_S)
            self._settings_file.unlink(missing_ok=True)

    def _prepare(self) -> None:
        dump_settings_file(self._settings, self._settings_file)
        self._result.unlink(missing_ok=True)

    def _read_result(self, child: ChildProcess) -> RoundResult:
        try:
            return RoundResult.from_json_dict(json.loads(self._result.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            last = child.tail(1).strip()
            raise EngineUnavailable(f"maintenance round ended with exit code {child.poll()} and no result: {last}", engine="maintenance") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
