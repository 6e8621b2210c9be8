"""The commands by name: module and help line. A module is imported when its command is used, so that `--help` stays fast."""

from __future__ import annotations

import gc
from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import typer
import typer.main
from typer.core import TyperGroup

from cryptoviz.cli.help_pages import add_epilog

if TYPE_CHECKING:
    from typer._click import Command, Context, HelpFormatter

__all__ = ["COMMANDS", "FLAGS_OFF", "LazyCommands"]

_PACKAGE = "cryptoviz.cli.commands"
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "up": ("run", "Start the pipeline against the live providers."),
    "demo": ("run", "Start it against the replay market; needs no internet."),
    "down": ("run", "Stop the running pipeline; keeps the data."),
    "status": ("control", "Show the state of every component."),
    "start": ("control", "Start components and their dependencies."),
    "stop": ("control", "Stop components."),
    "restart": ("control", "Stop components and start them again."),
    "logs": ("control", "Print the log of a component."),
    "providers": ("providers", "Show the providers: state, breaker, quota, latency."),
    "streams": ("streams", "Show the trade streams: trades, gaps, refills, checked candles."),
    "calls": ("calls", "Show the calls of the control service: number, codes, times."),
    "alerts": ("alerts", "Add, list, mute, test and remove alerts; show what fired."),
    "query": ("query", "Query the lake with SQL (DuckDB)."),
    "verify": ("query", "Compare Kafka with the lake: no row lost or duplicated."),
    "dead-letters": ("dead_letters", "List, export and replay records that failed to decode."),
    "gaps": ("gaps", "List expected ticks that the lake does not have."),
    "backfill": ("gaps", "Fill gaps from the providers' history."),
    "replay": ("replay", "Rebuild rows from recorded responses and compare them."),
    "maintain": ("operations", "Run one round of lake maintenance now."),
    "operations": ("operations", "Show, follow, cancel or resume long operations."),
    "tokens": ("tokens", "Add, list, rotate and revoke tokens of the control service."),
    "doctor": ("machine", "Check this machine: programs, ports, disk, memory."),
    "config": ("machine", "Show the settings and where each comes from."),
    "reset": ("machine", "Delete all data of a stopped pipeline."),
}
"""Name: module in `cryptoviz.cli.commands`, help. In the order of the help."""
FLAGS_OFF: Final[dict[str, Any]] = {
    "install_completion": False, "show_completion": False, "help": False, **{name: {"help": False} for name in COMMANDS}
}  # fmt: skip
"""Defaults of typer's own flags, of all commands. Their default is None, and to convert it to a bool typer would import pydantic."""


class _Loaded(MutableMapping[str, "Command"]):
    """Mapping of all command names; a command is imported at its first look-up."""

    def __init__(self) -> None:
        self._found: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        if name not in self._found:
            self._load(COMMANDS[name][0])
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __setitem__(self, name: str, command: Command) -> None:
        self._found[name] = command

    def __delitem__(self, name: str) -> None:
        del self._found[name]

    def _load(self, module: str) -> None:
        gc.disable()  # imports leave no garbage; collections in search of it would take a tenth of the processor time of `status`
        try:
            _prepare()
            group = typer.Typer(rich_markup_mode=None)
            import_module(f"{_PACKAGE}.{module}").register(group)
            commands = typer.main.get_group(group).commands
            for name, command in commands.items():
                add_epilog(name, command)
            self._found |= commands
        finally:
            gc.freeze()
            gc.enable()


def _prepare() -> None:
    """Set-up that every command needs before its own imports."""
    from cryptoviz.local.shell import forget_options
    from cryptoviz.log import configure_logging

    forget_options()
    configure_logging("WARNING")


class LazyCommands(TyperGroup):
    """The top-level command group."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Loaded()

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the help from the table, without importing a command."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])
