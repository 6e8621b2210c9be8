"""The `cryptoviz` command. Each group of subcommands is a module beside this one; errors become one clear message and an exit code here."""

from __future__ import annotations

import sys

import typer

from cryptoviz.cli import control, data, gaps, machine, maintain, operations, providers, replay, run_commands
from cryptoviz.cli.terminal import terminal
from cryptoviz.errors import CryptoVizError
from cryptoviz.log import configure_logging

__all__ = ["app", "main"]

app = typer.Typer(
    name="cryptoviz",
    help="Collect crypto prices with provenance, keep them in a lakehouse, watch them live.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (run_commands, control, operations, providers, replay, gaps, maintain, data, machine):
    module.register(app)


def main() -> None:
    """Exit code 0 when done, 1 for an error of ours (one message on stderr), 2 for a wrong call."""
    configure_logging("WARNING")
    try:
        app()
    except CryptoVizError as error:
        terminal(stderr=True).print(f"error: {error}", style="red", soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
