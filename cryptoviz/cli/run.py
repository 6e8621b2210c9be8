"""`up`, `demo` and `down`: from nothing to a running pipeline in one call, and back to nothing."""

from __future__ import annotations

import signal
import threading
from contextlib import nullcontext, suppress
from types import FrameType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cryptoviz.cli.cluster import launch_controller, read_record, start_ray, stop_ray
from cryptoviz.cli.view import pipeline_view
from cryptoviz.client import ControlClient, PipelineStatus
from cryptoviz.doctor import Level, examine, require_fit
from cryptoviz.errors import EngineUnavailable, PreflightError, SettingsError, TransientError
from cryptoviz.services.fetch import ensure_all
from cryptoviz.services.progress import BarProgress, progress_for
from cryptoviz.settings import Settings

__all__ = ["bring_down", "bring_up", "fetch", "run_in_foreground"]

_STOP_GRACE_S = 25.0
_PLAIN_EVERY_S = 5.0


def bring_up(settings: Settings, console: Console) -> None:
    """Fetch what is missing, check the machine, start Ray and the controller, and ask for every component.

    Raises:
        PreflightError: something on this machine is in the way; nothing was started.
        EngineUnavailable: Ray or the controller did not start; what had started was ended.
    """
    if read_record(settings) is not None:
        raise PreflightError(
            f"a pipeline already runs from {settings.home}: `cryptoviz status` shows it, `cryptoviz down` ends it", problems=["already running"]
        )
    fetch(settings, console)
    findings = examine(settings)
    require_fit(findings)
    for finding in findings:
        if finding.level is Level.WARN:
            console.print(Text(f"{finding.name}: {finding.detail}; {finding.remedy}", style="yellow"), soft_wrap=True)
    try:
        if not settings.ray.address:
            console.print("Starting Ray …", style="dim")
            start_ray(settings)
        console.print("Starting the controller …", style="dim")
        launch_controller(settings)
        with ControlClient.from_settings(settings) as client:
            client.start_pipeline()
    except BaseException:
        stop_ray(settings)
        raise


def fetch(settings: Settings, console: Console, *, check_contents: bool = False) -> None:
    """Download and build what is missing, with progress on the console. Raises as `ensure_all`."""
    progress = progress_for(console)
    with progress if isinstance(progress, BarProgress) else nullcontext():
        ensure_all(settings, progress, check_contents=check_contents)


def bring_down(settings: Settings, console: Console) -> bool:
    """Stop every component, then the controller, then Ray. True when there was something to end."""
    try:
        with ControlClient.from_settings(settings) as client:
            client.shutdown()
            console.print("Stopping: draining the collector and the lake …", style="dim")
            with suppress(TransientError):
                client.wait_stopped(_STOP_GRACE_S)
        reached = True
    except (EngineUnavailable, SettingsError):
        reached = False
    return stop_ray(settings) or reached


def run_in_foreground(settings: Settings, console: Console) -> int:
    """Show the live state until SIGINT, SIGTERM or the end of the cluster; then end everything. A second signal ends it by force.

    Returns the exit code: 0 after a signal, 1 when the cluster ended by itself.
    """
    asked = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        del number, frame
        if asked.is_set():
            stop_ray(settings)
            raise SystemExit(130)
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    latest = _Latest(settings)
    latest.thread.start()
    alive = True
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while not asked.wait(0.5) and (alive := _alive(settings)):
                if latest.status is not None:
                    live.update(pipeline_view(latest.status, settings), refresh=True)
    else:
        seen = ""
        while not asked.wait(0.5) and (alive := _alive(settings)):
            line = f"{latest.status.state} {latest.status.reason}" if latest.status is not None else ""
            if line and line != seen:
                console.print(pipeline_view(latest.status, settings) if seen == "" and latest.status else line, soft_wrap=True)
                seen = line
    latest.ended.set()
    bring_down(settings, console)
    if not alive:
        console.print(f"The Ray cluster ended by itself; see {settings.log_dir / 'ray.log'}", style="red")
    return 0 if alive else 1


class _Latest:
    """Keeps the last state that the control service sent, reconnecting while it is away."""

    def __init__(self, settings: Settings) -> None:
        self.status: PipelineStatus | None = None
        self.ended = threading.Event()
        self._settings = settings
        self.thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def _watch(self) -> None:
        while not self.ended.is_set():
            try:
                with ControlClient.from_settings(self._settings) as client:
                    for status in client.watch():
                        self.status = status
                        if self.ended.is_set():
                            return
            except TransientError:
                self.ended.wait(1.0)


def _alive(settings: Settings) -> bool:
    return bool(settings.ray.address) or read_record(settings) is not None
