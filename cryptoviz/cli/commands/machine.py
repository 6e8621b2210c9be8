"""doctor, config, reset: checks, settings and data of this machine."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from pydantic import SecretStr
from rich.table import Table
from rich.text import Text

from cryptoviz.cli.cluster import forget_cluster
from cryptoviz.cli.options import Yes
from cryptoviz.cli.startup import fetch
from cryptoviz.cli.terminal import echo, echo_json, printable, terminal
from cryptoviz.cluster_record import read_record
from cryptoviz.doctor import examine
from cryptoviz.engines.build import ENGINE_NAMES
from cryptoviz.errors import PreflightError
from cryptoviz.extras import require_extra
from cryptoviz.local.home import Removed, foreign_reason, remove_data
from cryptoviz.local.home_lock import HomeLock, engine_lock
from cryptoviz.masking import MASK, mask_url
from cryptoviz.running_pipeline import running_settings
from cryptoviz.settings import Settings, load_settings
from cryptoviz.settings.origin import setting_sources

__all__ = ["register"]

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Demo = Annotated[bool, typer.Option("--demo", help="Use the demo instead of the live pipeline.")]
Fix = Annotated[bool, typer.Option("--fix", help="Download and rebuild missing or damaged engines.")]
ShowSecrets = Annotated[bool, typer.Option("--show-secrets", help="Print secrets in clear text.")]
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (doctor, config, reset):
        app.command()(command)


def doctor(as_json: Json = False, demo: Demo = False, fix: Fix = False) -> None:
    """Check this machine: programs, engines, ports, disk, memory. Exit code 1 if the pipeline could not start."""
    require_extra("pipeline", "`cryptoviz doctor`")
    console = terminal()
    settings = load_settings("demo" if demo else "live")
    if fix:
        fetch(settings, console, check_contents=True)
    findings = examine(settings)
    if as_json:
        echo_json([finding.as_dict() for finding in findings])
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        for finding in findings:
            text = f"{finding.detail}\n→ {finding.remedy}" if finding.remedy else finding.detail
            table.add_row(Text(str(finding.level), style=_STYLES[finding.level]), finding.name, Text(text))
        console.print(table)
    raise typer.Exit(1 if any(finding.level == "fail" for finding in findings) else 0)


def config(as_json: Json = False, demo: Demo = False, show_secrets: ShowSecrets = False) -> None:
    """Show the effective settings and the source of each."""
    settings = running_settings("demo" if demo else None)
    tree = _tree(settings, show_secrets)
    if as_json:
        echo_json(tree, orjson.OPT_INDENT_2)
        return
    sources = setting_sources(settings)
    table = Table(box=None, pad_edge=False)
    for heading in ("setting", "value", "from"):
        table.add_column(heading, overflow="fold")
    for path, value in _leaves(tree):
        table.add_row(printable(path), printable(str(value)), sources.get(path, "default"))
    terminal().print(table)


def reset(demo: Demo = False, yes: Yes = False, as_json: Json = False) -> None:
    """Delete all data of a stopped pipeline: lake, topics, state, logs. Keeps downloads."""
    settings = load_settings("demo" if demo else "live")
    home = settings.home
    if read_record(settings.home) is not None:
        raise PreflightError("the pipeline is running; run `cryptoviz down` first", problems=["running"])
    if not home.exists():
        if as_json:
            _tell_removed(home, Removed((), (), ()), as_json=True)
        else:
            echo(f"Nothing to delete: {home} does not exist.")
        return
    if reason := foreign_reason(home):
        raise PreflightError(f"nothing was deleted from {home}: {reason} (CRYPTOVIZ_HOME)", problems=["home"])
    with HomeLock(home, "cryptoviz reset"):
        if not yes and not typer.confirm(f"Delete all collected data in {home}?", err=as_json):
            raise typer.Exit(1)
        forget_cluster(settings)
        with ExitStack() as engines:
            for name in ENGINE_NAMES:
                engines.enter_context(engine_lock(home, name))
            removed = remove_data(home)
    _tell_removed(home, removed, as_json=as_json)


def _tell_removed(home: Path, removed: Removed, *, as_json: bool) -> None:
    if as_json:
        echo_json({"home": str(home), "deleted": removed.entries, "links": dict(removed.links), "kept": removed.left})
        return
    echo(f"Deleted from {home}: {', '.join(removed.entries) or 'nothing'}.")
    for name, target in removed.links:
        echo(f"{name} was a symbolic link; its target is unchanged: {target}")
    if removed.left:
        echo(f"Kept in {home} (not created by a pipeline): {', '.join(removed.left)}")


def _tree(settings: Settings, show_secrets: bool) -> dict[str, Any]:
    """The settings as JSON values, plus the derived `control.address` and `control.token_file`."""
    tree: dict[str, Any] = orjson.loads(orjson.dumps(_shown(settings.model_dump(), show_secrets), default=str))
    return tree | {"control": tree["control"] | {"address": settings.control.address, "token_file": str(settings.token_file)}}


def _shown(value: Any, show_secrets: bool) -> Any:
    """Secrets in clear text, or masked: keys and passwords completely, URLs in their secret part."""
    if isinstance(value, dict):
        return {key: _shown(each, show_secrets) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shown(each, show_secrets) for each in value]
    if isinstance(value, SecretStr):
        text = value.get_secret_value()
        return text if show_secrets else MASK if text else ""
    return mask_url(value) if isinstance(value, str) and not show_secrets else value


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        path = f"{prefix}{key}"
        found += _leaves(value, f"{path}.") if isinstance(value, dict) and value else [(path, value)]
    return found
