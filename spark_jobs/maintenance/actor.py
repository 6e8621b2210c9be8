"""The `maintenance` component: runs maintenance rounds on a schedule, each in a child process. This process only waits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptoviz.components import MAINTENANCE, Probe
from cryptoviz.engines.process import ChildProcess, SerialThread
from cryptoviz.errors import CryptoVizError, EngineUnavailable, TransientError
from cryptoviz.log import get_logger
from cryptoviz.operations import MaintenanceArguments, OperationResult, Progress, Report
from cryptoviz.settings import SETTINGS_FILE_VARIABLE, Settings, child_environment, dump_settings_file
from cryptoviz.telemetry.log_files import log_path, log_to_file
from spark_jobs.maintenance.result import PROGRESS_SUFFIX, RoundResult

__all__ = ["MaintenanceActor", "MaintenanceOperation", "RoundProcess"]

_GRACE_S = 600.0
"""Grace period before the probe calls a round late: a round may merge several days."""
_POLL_S = 0.2
_STOP_GRACE_S = 5.0
# Return freed memory to the system: the merge of a day of 734 400 rows takes at most 300 MB, with Arrow's own allocator 460 MB.
_FRUGAL = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072"}

log = get_logger("maintenance")


class RoundProcess:
    """Runs one round at a time. `name` makes its file names unique. The child process ends with this process."""

    def __init__(self, settings: Settings, name: str, tables: tuple[str, ...] = ()) -> None:
        self._settings = settings
        self._tables = tables
        self._settings_file = settings.run_dir / f"{name}-settings.json"
        self._result = settings.run_dir / f"{name}-result.json"
        self._child: ChildProcess | None = None
        self._start_stop = SerialThread(f"{name}-start-stop")

    async def run(self, say: Callable[[str], None] = lambda _: None) -> RoundResult:
        """Run a round and wait for its end; `say` receives its progress text. Cancellation ends the child process; the next round continues its work.

        Raises:
            EngineUnavailable: the child process ended without a result, or its settings cannot be written.
        """
        try:
            await asyncio.to_thread(self._prepare)
        except OSError as error:  # a full disk
            raise EngineUnavailable(f"a maintenance round cannot start: {error}", engine="maintenance") from error
        command = (sys.executable, "-m", "spark_jobs.maintenance", str(self._result), *self._tables)
        environment = child_environment({SETTINGS_FILE_VARIABLE: str(self._settings_file), **_FRUGAL})
        child = self._child = ChildProcess(MAINTENANCE, command, log_path(self._settings, MAINTENANCE), env=environment)
        try:
            await self._start_stop.run(child.start)
            while child.running:
                await asyncio.sleep(_POLL_S)
                say(_read(self._result.with_suffix(PROGRESS_SUFFIX)))
            return self._read_result(child)
        finally:
            await self._start_stop.run(child.stop, _STOP_GRACE_S)
            self._settings_file.unlink(missing_ok=True)

    async def kill(self) -> None:
        """SIGKILL of a running round, also during its start or stop."""
        if self._child is not None:
            await asyncio.to_thread(self._child.stop, 0.0)
            await self._start_stop.run(self._child.stop, 0.0)

    def _prepare(self) -> None:
        dump_settings_file(self._settings, self._settings_file)
        self._result.unlink(missing_ok=True)

    def _read_result(self, child: ChildProcess) -> RoundResult:
        try:
            return RoundResult.from_json_dict(json.loads(self._result.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            last = child.tail(1).strip()
            raise EngineUnavailable(f"maintenance round ended with exit code {child.poll()} and no result: {last}", engine="maintenance") from None


@dataclass(slots=True)
class _Totals:
    """Totals since the start of this actor."""

    rounds: int = 0
    good: int = 0
    figures: Counter[str] = field(default_factory=Counter)
    last: RoundResult = field(default_factory=RoundResult)
    failure: str = ""


class MaintenanceActor:
    """A `cryptoviz.components.ComponentActor`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._task: asyncio.Task[None] | None = None
        self._round_process = RoundProcess(settings, MAINTENANCE)
        self._totals = _Totals()
        self._looked_s = time.monotonic()

    async def start(self) -> None:
        """Start the schedule; the first round runs at once."""
        if self._task is not None and not self._task.done():
            return
        log_to_file(self._settings, MAINTENANCE)
        self._looked_s = time.monotonic()
        self._task = asyncio.create_task(self._loop())

    async def stop(self) -> None:
        """Stop; a running round is interrupted, and the next round continues its work."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def kill(self) -> None:
        """End the schedule, with SIGKILL of a running round."""
        if self._task is not None:
            self._task.cancel()
        await self._round_process.kill()

    async def probe(self) -> Probe:
        """Healthy while rounds run on schedule and succeed."""
        running = self._task is not None and not self._task.done()
        age_s = time.monotonic() - self._looked_s
        late = age_s > 3 * self._settings.lake.maintenance_s + _GRACE_S
        totals = self._totals
        message = totals.failure or (f"no round for {age_s:.0f} s" if late else f"last round {age_s:.0f} s ago" if totals.rounds else "first round")
        message = "; ".join((message, *totals.last.warnings))
        metrics = {
            "rounds_total": float(totals.rounds),
            **{f"{name}_total": float(value) for name, value in sorted(totals.figures.items())},
            "last_round_age_s": round(age_s, 1),
            "interval_s": self._settings.lake.maintenance_s,
            "round_ms": totals.last.took_ms,
            "plain_window_ms": totals.last.window_ms,
            "round_peak_mb": totals.last.peak_rss_mb,
        }
        healthy = running and not late and not totals.failure
        return Probe(running=running, healthy=healthy, message=message, metrics=metrics, pid=os.getpid(), delivered=totals.good > 0)

    async def _loop(self) -> None:
        while True:
            await self._round(self._round_process)
            await asyncio.sleep(self._settings.lake.maintenance_s)

    async def _round(self, child: RoundProcess) -> None:
        totals = self._totals
        try:
            totals.last = await child.run()
            totals.failure = "; ".join(totals.last.failures)
            totals.figures.update({name: value for name, value in totals.last.figures.items() if value})
        except CryptoVizError as error:
            totals.failure = error.message
        totals.rounds += 1
        self._looked_s = time.monotonic()
        totals.good += not totals.failure
        if totals.failure:
            log.warning("maintenance_round_failed", error=totals.failure)


class MaintenanceOperation:
    """A `cryptoviz.operations.Operation`: one round now. Waits while another round runs."""

    def __init__(self, settings: Settings, operation_id: str, arguments: MaintenanceArguments) -> None:
        self._settings = settings
        self._child = RoundProcess(settings, f"maintenance-{operation_id}", arguments.tables)

    async def run(self, report: Report) -> OperationResult:
        """Run a round.

        Raises:
            TransientError: some steps failed; the message names them.
            EngineUnavailable: the round's process ended without a result.
        """
        result = await self._child.run(lambda text: report(Progress(done=0, message=text)))
        if result.failures:
            raise TransientError("; ".join(result.failures))
        figures = {name: float(value) for name, value in result.figures.items()} | {"took_ms": result.took_ms, "plain_window_ms": result.window_ms}
        merged = f"{figures.get('files_before', 0):.0f} files into {figures.get('files_after', 0):.0f}"
        return OperationResult(message=f"one round in {result.took_ms / 1000:.1f} s, merged {merged}", figures=figures)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
