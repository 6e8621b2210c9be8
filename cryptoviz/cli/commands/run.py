"""up, demo and down: start and stop the pipeline."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer
from rich.console import Console

from cryptoviz.cli.cluster import end_leftovers, forget_cluster
from cryptoviz.cli.leash import Leash, Stop, held_home
from cryptoviz.cli.options import Yes, confirm
from cryptoviz.cli.startup import bring_down, bring_up, require_stopped, run_in_foreground
from cryptoviz.cli.terminal import echo_json, terminal
from cryptoviz.cluster_record import Access, read_joined, read_record, record_file, was_stopped
from cryptoviz.errors import CryptoVizError, EngineUnavailable
from cryptoviz.extras import require_extra
from cryptoviz.local.home import foreign_reason
from cryptoviz.local.home_lock import HomeLock
from cryptoviz.running_pipeline import Profile, inputs_of_start, running_settings
from cryptoviz.settings import Settings

__all__ = ["register"]

_INTERRUPTED = 130
"""The shell's exit code for a command ended by SIGINT."""

Detach = Annotated[bool, typer.Option("--detach", "-d", help="Return once all components are starting; stop with `cryptoviz down`.")]
KeepStopped = Annotated[bool, typer.Option("--keep-stopped", help="Do not start components that a command stopped in an earlier run.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output; progress on stderr.")]
JsonAtStart = Annotated[bool, typer.Option("--json", help="Addresses as JSON on stdout, all else on stderr.")]
Demo = Annotated[bool, typer.Option("--demo", help="Stop the demo, if the live pipeline runs too.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(up)
    app.command()(demo)
    app.command()(down)


def up(detach: Detach = False, keep_stopped: KeepStopped = False, as_json: JsonAtStart = False) -> None:
    """Start the pipeline against the live providers and show its state until Ctrl-C."""
    _run("live", as_json, detach=detach, keep_stopped=keep_stopped)


def demo(detach: Detach = False, keep_stopped: KeepStopped = False, as_json: JsonAtStart = False) -> None:
    """Start the pipeline against the replay market (recorded history, no internet needed) and show its state until Ctrl-C."""
    _run("demo", as_json, detach=detach, keep_stopped=keep_stopped)


def down(demo: Demo = False, yes: Yes = False, as_json: Json = False) -> None:
    """Stop the running pipeline: drain, stop every component, then Ray. No process remains; the data is kept."""
    console = terminal(stderr=as_json)
    settings = running_settings("demo" if demo else None)
    known = read_record(settings.home) is not None or bool(settings.ray.address)
    if known:
        confirm(f"Stop the pipeline of {settings.home}?", yes=yes)
    stopped = bring_down(settings, console) if known else _end_leftovers(settings) > 0
    if as_json:
        echo_json({"stopped": stopped})
    else:
        console.print(
            "Stopped." if stopped else f"Not running: no pipeline was started with the home {settings.home} on this machine.", soft_wrap=True
        )


def _end_leftovers(settings: Settings) -> int:
    if foreign_reason(settings.home):
        return 0
    with HomeLock(settings.home, "cryptoviz down"):
        return end_leftovers(settings)


def _run(profile: Profile, as_json: bool, *, detach: bool, keep_stopped: bool) -> None:
    require_extra("pipeline", f"`cryptoviz {'up' if profile == 'live' else 'demo'}`")
    console = terminal(stderr=as_json)
    settings, inputs = inputs_of_start(profile)
    require_stopped(settings)
    stop = Stop()
    stop.install()
    try:
        with held_home(settings, "cryptoviz up" if profile == "live" else "cryptoviz demo") as lock:
            try:
                with Leash(lock) as leash:
                    stop.leash = leash
                    code = _start(settings, console, stop, leash, inputs, detach=detach, as_json=as_json, keep_stopped=keep_stopped)
            finally:
                if read_record(settings.home) is None and read_joined(settings.home) is None:
                    forget_cluster(settings)
    except KeyboardInterrupt:
        with suppress(OSError):
            console.print("Interrupted; everything that had started is stopped.")
        code = _INTERRUPTED
    raise typer.Exit(code)


def _start(
    settings: Settings,
    console: Console,
    stop: Stop,
    leash: Leash,
    inputs: str,
    *,
    detach: bool,
    as_json: bool = False,
    keep_stopped: bool = False,
) -> int:
    record_file(settings.home).unlink(missing_ok=True)  # of an earlier cluster, which has ended
    try:
        record = bring_up(settings, console, leash, inputs, keep_stopped=keep_stopped)
    except CryptoVizError as error:
        if not was_stopped(settings.home):
            raise
        raise EngineUnavailable("stopped by `cryptoviz down` during the start", engine="ray") from error
    addresses = Access.of(settings).addresses
    if as_json:
        echo_json({"addresses": dict(addresses)})
    for name, address in addresses:
        console.print(f"{name:<14} {address}", highlight=False, soft_wrap=True)
    if detach:
        leash.detach()
        return 0
    console.print("Ctrl-C stops everything.", style="dim")
    stop.breaks_off = False
    return run_in_foreground(settings, console, record, stop.asked)
