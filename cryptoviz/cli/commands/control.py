"""status, start, stop, restart, logs: the gRPC control service on the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from cryptoviz.cli.options import Yes, confirm
from cryptoviz.cli.status_view import pipeline_view
from cryptoviz.cli.terminal import echo, echo_json, terminal
from cryptoviz.client import ControlClient, PipelineStatus
from cryptoviz.cluster_record import Access, record_file, was_stopped
from cryptoviz.components import ComponentState, ComponentStatus
from cryptoviz.errors import ControlRefused, CryptoVizError, EngineUnavailable, SettingsError
from cryptoviz.rpc.pipeline_status import component_json
from cryptoviz.running_pipeline import retry_while_running, running_access, running_settings

__all__ = ["register"]

T = TypeVar("T")
_WAIT_S = 60.0
_NAMES_HELP = "Names as `cryptoviz status` shows them; `all` means the whole pipeline."
Names = Annotated[list[str], typer.Argument(help=_NAMES_HELP, metavar="COMPONENT...")]
Name = Annotated[str, typer.Argument(help="Component name.", metavar="COMPONENT")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Wait = Annotated[
    float | None,
    typer.Option("--wait", help="Seconds to wait for the new state (default 60, plus two ticks for a start); 0 returns at once.", min=0.0),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (status, start, stop, restart, logs):
        app.command()(command)


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show changes until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Show every component: state, time in it, restarts, activity. With --watch --json, one JSON line per change."""
    access = running_access()
    console = terminal()
    with _client(access) as client:
        if not watch:
            _show(console, client.list(), access, as_json)
        elif as_json or not console.is_terminal:
            for pipeline in _until_stopped(client.watch(), access):
                _show(console, pipeline, access, as_json)
        else:
            from rich.live import Live

            with Live(console=console, auto_refresh=False) as live:
                for pipeline in _until_stopped(client.watch(), access):
                    live.update(pipeline_view(pipeline, access.addresses), refresh=True)


def start(names: Names, wait: Wait = None, as_json: Json = False) -> None:
    """Start components and their dependencies."""
    _verb(names, wait, ControlClient.start, ControlClient.start_pipeline, frozenset({ComponentState.RUNNING}), as_json=as_json)


def stop(names: Names, wait: Wait = None, yes: Yes = False, as_json: Json = False) -> None:
    """Stop components. Components that depend on them wait."""
    confirm(f"Stop {'every component' if names == ['all'] else ', '.join(names)}?", yes=yes)
    _verb(names, wait, ControlClient.stop, ControlClient.stop_pipeline, frozenset({ComponentState.STOPPED}), as_json=as_json)


def restart(names: Names, wait: Wait = None, as_json: Json = False) -> None:
    """Stop components and start them again."""
    _verb(names, wait, ControlClient.restart, None, frozenset({ComponentState.RUNNING}), as_json=as_json)


def logs(
    name: Name,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=10_000, help="Number of lines to show from the end.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Print the log of a component. With --json, one JSON object per line."""
    access = running_access()
    with _client(access) as client:
        for line in _until_stopped(client.tail_logs(name, lines, follow=follow), access):
            if as_json:
                echo_json({"component": name, "line": line})
            else:
                echo(line)


def _until_stopped(stream: Iterator[T], access: Access) -> Iterator[T]:
    """The items of a stream. When a command stops the pipeline, a line on stderr instead of the error."""
    home = Path(access.home)
    known = record_file(home).exists()
    try:
        yield from stream
    except EngineUnavailable:
        # The command that stops it removes the record, possibly before this one notices; a crash leaves the record.
        if not was_stopped(home) and not (known and not record_file(home).exists()):
            raise
        echo("The pipeline was stopped.", err=True)


@contextmanager
def _client(access: Access) -> Iterator[ControlClient]:
    """A client. The secrets in its errors are masked: an error may quote an argument, and the service of a demo does not know the keys for live."""
    roots, certificate, key = (Path(path) if path else None for path in (access.tls_cert, access.tls_client_cert, access.tls_client_key))
    with ControlClient(
        access.control_address,
        token_file=Path(access.token_file),
        root_certificates=roots,
        retry=retry_while_running(Path(access.home)),
        client_certificate=certificate,
        client_key=key,
    ) as client:
        try:
            yield client
        except CryptoVizError as error:
            with suppress(SettingsError, OSError):
                running_settings()  # its secrets are then known
            raise error.with_message(error.message) from None


def _show(console: Console, pipeline: PipelineStatus, access: Access, as_json: bool) -> None:
    if as_json:
        echo_json(pipeline.to_json_dict())
    else:
        console.print(pipeline_view(pipeline, access.addresses))


def _verb(
    names: list[str],
    wait_s: float | None,
    one: Callable[[ControlClient, str], ComponentStatus],
    everything: Callable[[ControlClient], PipelineStatus] | None,
    target: frozenset[ComponentState],
    *,
    as_json: bool,
) -> None:
    access = running_access()
    if wait_s is None:
        # A scraper is RUNNING after its first good poll, the collector after its first published tick: up to two ticks.
        wait_s = _WAIT_S if ComponentState.STOPPED in target else _WAIT_S + 2 * access.tick_s
    with _client(access) as client:
        whole = names == ["all"]
        if whole and everything is not None:
            names = [component.name for component in everything(client).components]
        elif whole:
            names = [component.name for component in client.list().components]
        if not whole or everything is None:
            for name in names:
                one(client, name)
        settled = _settled(client, names, wait_s, target)
        if as_json:
            echo_json({"components": [component_json(component) for component in settled]})
            return
        for component in settled:
            echo(f"{component.name}: {component.state} {component.message}".rstrip())


def _settled(client: ControlClient, names: list[str], wait_s: float, target: frozenset[ComponentState]) -> Iterator[ComponentStatus]:
    """Each named component when it has reached a target state. Raises ControlRefused on failure or timeout."""
    if wait_s == 0:
        yield from (client.get(name) for name in names)
        return
    deadline = time.monotonic() + wait_s
    for name in names:

        def arrived(pipeline: PipelineStatus, name: str = name) -> bool:
            component = pipeline.component(name)
            if component is None:
                return False
            if component.state is ComponentState.FAILED:
                raise ControlRefused(f"{name} failed: {component.message}", code="FAILED")
            return component.state in target

        try:
            found = client.wait(max(0.1, deadline - time.monotonic()), arrived).component(name)
        except EngineUnavailable:
            # Timeout, or the service is gone; in that case the next call raises.
            late = client.get(name)
            reason = f": {late.message}" if late.message else ""
            raise ControlRefused(f"{name} is {late.state} after {wait_s:g} s{reason}", code="DEADLINE_EXCEEDED") from None
        if found is not None:
            yield found
