"""up, demo, down."""

from __future__ import annotations

from typing import Annotated

import typer

from cryptoviz.cli.pipeline import Profile, running_settings
from cryptoviz.cli.run import bring_down, bring_up, run_in_foreground
from cryptoviz.cli.terminal import terminal
from cryptoviz.cli.view import addresses
from cryptoviz.settings import load_settings

__all__ = ["register"]

Detach = Annotated[bool, typer.Option("--detach", "-d", help="Return once everything was asked to start; `cryptoviz down` ends it.")]
Demo = Annotated[bool, typer.Option("--demo", help="Of two running pipelines, mean the demo.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(up)
    app.command()(demo)
    app.command()(down)


def up(detach: Detach = False) -> None:
    """Start the pipeline against the live providers and show its state until Ctrl-C."""
    _run("live", detach)


def demo(detach: Detach = False) -> None:
    """Start the pipeline against the replay market (recorded history, no internet needed) and show its state until Ctrl-C."""
    _run("demo", detach)


def down(demo: Demo = False) -> None:
    """End the running pipeline: drain, stop every component, then Ray. Leaves no process; keeps the data."""
    console = terminal()
    settings = running_settings("demo" if demo else None)
    console.print("Stopped." if bring_down(settings, console) else "Nothing runs.")


def _run(profile: Profile, detach: bool) -> None:
    console = terminal()
    settings = load_settings(profile)
    bring_up(settings, console)
    for name, address in addresses(settings):
        console.print(f"{name:<14} {address}", highlight=False, soft_wrap=True)
    if not detach:
        console.print("Ctrl-C stops everything.", style="dim")
        raise typer.Exit(run_in_foreground(settings, console))
