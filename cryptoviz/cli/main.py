"""Entry point of `cryptoviz`. Commands are in `cryptoviz.cli.commands`; errors become a message on stderr and an exit code here."""

from __future__ import annotations

import atexit
import contextlib
import gc
import sys
from typing import Annotated, NoReturn

import typer

from cryptoviz.cli.command_table import FLAGS_OFF, LazyCommands
from cryptoviz.cli.edge import abandon_output, output_error, prepare_streams, require_text
from cryptoviz.cli.help_pages import ROOT_EPILOG
from cryptoviz.errors import CryptoVizError, InvalidRequest, InvalidTime, UsageError
from cryptoviz.log import print_masked
from cryptoviz.masking import redact

__all__ = ["app", "main"]

_WRONG_CALL = 2
_INVALID_ARGUMENTS = (UsageError, InvalidRequest, InvalidTime)

app = typer.Typer(
    name="cryptoviz",
    cls=LazyCommands,
    help="Collect crypto prices with provenance, keep them in a lakehouse, watch them live.",
    epilog=ROOT_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"default_map": FLAGS_OFF},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"cryptoviz {version('cryptoviz')}")
        raise typer.Exit


@app.callback()
def _command(
    version: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)] = False,
) -> None:
    """Collect crypto prices with provenance, keep them in a lakehouse, watch them live."""


def main() -> None:
    """Exit codes: `cryptoviz.cli.help_pages`."""
    atexit.register(gc.freeze)  # at its end the interpreter would free each object of 500 modules: a quarter of the processor time of `status`
    prepare_streams()
    try:
        require_text(sys.argv[1:])
        try:
            app()
        finally:
            sys.stdout.flush()
    except CryptoVizError as error:
        _fail(str(error), _WRONG_CALL if isinstance(error, _INVALID_ARGUMENTS) else 1)
    except OSError as error:
        abandon_output()
        _fail(redact(output_error(error)), 1)
    except Exception:
        sys.excepthook = print_masked  # typer has replaced the hook
        raise


def _fail(text: str, code: int) -> NoReturn:
    from cryptoviz.cli.terminal import terminal

    with contextlib.suppress(OSError):
        terminal(stderr=True).print(f"error: {text}", style="red", soft_wrap=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
