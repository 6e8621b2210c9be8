"""The `cryptoviz` command. Each group of subcommands is a module beside this one; errors become one clear message and an exit code here."""

from __future__ import annotations

import contextlib
import sys
from typing import NoReturn

import typer

from cryptoviz.cli.commands import control, gaps, machine, maintain, operations, providers, replay
from cryptoviz.cli.commands import query as data
from cryptoviz.cli.commands import run as run_commands
from cryptoviz.cli.edge import abandon_output, output_error, prepare_streams, require_text
from cryptoviz.cli.terminal import terminal
from cryptoviz.errors import CryptoVizError, SettingsError
from cryptoviz.log import configure_logging
from cryptoviz.settings.shell import forget_options

__all__ = ["app", "main"]

_WRONG_CALL = 2

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
    forget_options()
    prepare_streams()
    configure_logging("WARNING")
    try:
        require_text(sys.argv[1:])
    except SettingsError as error:
        _fail(str(error), _WRONG_CALL)
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except CryptoVizError as error:
        _fail(str(error), 1)
    except OSError as error:
        abandon_output()
        _fail(output_error(error), 1)


def _fail(text: str, code: int) -> NoReturn:
    with contextlib.suppress(OSError):
        terminal(stderr=True).print(f"error: {text}", style="red", soft_wrap=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
