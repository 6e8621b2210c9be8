"""Start and stop of the whole pipeline, for `up`, `demo` and `down`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cryptoviz.cli.cluster import ControllerLaunch, start_ray, stop_ray
from cryptoviz.cli.leash import Leash
from cryptoviz.cli.status_view import pipeline_view
from cryptoviz.client import ControlClient, PipelineStatus
from cryptoviz.cluster_record import Access, ClusterRecord, mark_stop, read_joined, read_record, record_file, was_stopped, write_record
from cryptoviz.doctor import Level, examine, require_fit
from cryptoviz.engines.download_progress import BarProgress, progress_for
from cryptoviz.engines.fetch import ensure_all
from cryptoviz.errors import EngineUnavailable, PreflightError, SettingsError, TransientError
from cryptoviz.settings import Settings, claim_home

__all__ = ["bring_down", "bring_up", "fetch", "require_stopped", "run_in_foreground"]

_STOP_GRACE_S = 25.0


def require_stopped(settings: Settings) -> None:
    """Raises PreflightError if a pipeline runs from this home."""
    if read_record(settings.home) is not None:
        raise PreflightError(
            f"a pipeline is already running from {settings.home}; see `cryptoviz status`, stop it with `cryptoviz down`", problems=["already running"]
        )


def bring_up(settings: Settings, console: Console, leash: Leash, inputs: str, *, keep_stopped: bool = False) -> ClusterRecord | None:
    """Download missing engines, check the machine, start Ray and the controller, then enable every component. The leash's owner stops them.

    `inputs`: digest of what the settings were read from (`settings_inputs`). `keep_stopped`: components that a command has stopped stay stopped.

    Raises:
        SettingsError: another user can access the home.
        PreflightError: a check of this machine failed; nothing was started.
        EngineUnavailable: Ray or the controller did not start.
    """
    settings = claim_home(settings)
    fetch(settings, console)
    findings = examine(settings)
    require_fit(findings)
    for finding in findings:
        if finding.level is Level.WARN or finding.awaited:
            console.print(Text(f"{finding.name}: {finding.detail}; {finding.remedy}", style="yellow"), soft_wrap=True)
    record = None
    with ControllerLaunch(settings) as launch:
        if not settings.ray.address:
            console.print("Starting Ray …", style="dim")
            record = start_ray(settings, leash, inputs, launch.begin)
        console.print("Starting the controller …", style="dim")
        launch.finish()
    if settings.ray.address:
        write_record(settings.home, ClusterRecord.of_joined(settings.ray.address, Access.of(settings), inputs))
    with ControlClient.from_settings(settings) as client:
        client.start_pipeline(keep_stopped=keep_stopped)
    return record


def fetch(settings: Settings, console: Console, *, check_contents: bool = False) -> None:
    """Download and build missing engines, with progress on the console. Raises as `ensure_all`."""
    progress = progress_for(console)
    with progress if isinstance(progress, BarProgress) else nullcontext():
        ensure_all(settings, progress, check_contents=check_contents)


def bring_down(settings: Settings, console: Console, record: ClusterRecord | None = None) -> bool:
    """Stop every component, then the controller, then Ray. False if nothing was running."""
    record = record or read_record(settings.home)
    try:
        with ControlClient.from_settings(settings, retry=None) as client:
            client.shutdown()
            mark_stop(settings.home)
            _say(console, "Stopping: draining the collector and the lake …", style="dim")
            with suppress(TransientError):
                client.wait_stopped(_STOP_GRACE_S)
        reached = True
    except (EngineUnavailable, SettingsError):
        reached = False
        mark_stop(settings.home)
    if reached and read_joined(settings.home) is not None:
        record_file(settings.home).unlink(missing_ok=True)
    return (record is not None and stop_ray(settings, record)) or reached


def run_in_foreground(settings: Settings, console: Console, record: ClusterRecord | None, asked: threading.Event) -> int:
    """Show the live state until `asked` is set or the cluster ends; then stop everything.

    Returns the exit code: 0 when asked or stopped by `cryptoviz down`, 1 when the cluster ended unexpectedly.
    """
    latest = _Latest(settings)
    latest.thread.start()

    def running() -> bool:
        return not asked.wait(0.5) and (record is None or record.process.is_alive)

    try:
        _show(settings, console, latest, running)
    except OSError:
        # The terminal is gone or the disk behind stdout is full. The pipeline keeps running until it is stopped.
        while running():
            pass
    latest.ended.set()
    alive = record is None or record.process.is_alive
    stopped = not alive and was_stopped(settings.home)
    bring_down(settings, console, record)
    if stopped:
        _say(console, "Stopped by `cryptoviz down`.", style="")
    elif not alive:
        _say(console, f"The Ray cluster ended unexpectedly; see {settings.log_dir / 'ray.log'}", style="red")
    return 0 if alive or stopped else 1


def _show(settings: Settings, console: Console, latest: _Latest, running: Callable[[], bool]) -> None:
    addresses = Access.of(settings).addresses
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while running():
                if latest.status is not None:
                    live.update(pipeline_view(latest.status, addresses), refresh=True)
        return
    seen = ""
    while running():
        line = f"{latest.status.state} {latest.status.reason}" if latest.status is not None else ""
        if line and line != seen:
            console.print(pipeline_view(latest.status, addresses) if seen == "" and latest.status else line, soft_wrap=True)
            seen = line


def _say(console: Console, text: str, style: str) -> None:
    with suppress(OSError):  # stopping matters more than the message
        console.print(text, style=style)


class _Latest:
    """The last pipeline status from the control service. Reconnects while the service is unavailable."""

    def __init__(self, settings: Settings) -> None:
        self.status: PipelineStatus | None = None
        self.ended = threading.Event()
        self._settings = settings
        self.thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def _watch(self) -> None:
        while not self.ended.is_set():
            try:
                with ControlClient.from_settings(self._settings, retry=None) as client:
                    for status in client.watch():
                        self.status = status
                        if self.ended.is_set():
                            return
            except TransientError:
                self.ended.wait(1.0)
