"""tokens: named tokens of the control service, with a role each. Works on the home's files, whether the pipeline runs or not."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.table import Table

from cryptoviz.cli.options import Yes, confirm
from cryptoviz.cli.terminal import echo, echo_json, terminal
from cryptoviz.clock import SystemClock
from cryptoviz.errors import SettingsError, UsageError
from cryptoviz.local.home import claim, require_own_home
from cryptoviz.local.private import write_private
from cryptoviz.running_pipeline import running_settings
from cryptoviz.security.tokens import OWNER, Role, TokenFile, new_token
from cryptoviz.settings import Settings
from cryptoviz.times import iso_ms

__all__ = ["register"]

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Demo = Annotated[bool, typer.Option("--demo", help="Use the demo instead of the live pipeline.")]
Name = Annotated[str, typer.Argument(help="Name of the token, as `cryptoviz tokens list` shows it.", metavar="NAME")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    text = "Add, list, rotate and revoke tokens of the control service. Each change takes effect at once, without a restart."
    group = typer.Typer(help=text, rich_markup_mode=None, no_args_is_help=True)
    for name, command in (("add", add), ("list", show), ("rotate", rotate), ("revoke", revoke)):
        group.command(name)(command)
    app.add_typer(group, name="tokens")


def add(
    name: Annotated[str, typer.Argument(help="Name of the new token: who or what uses it.", metavar="NAME")],
    role: Annotated[Role, typer.Option(help="read: states, logs, lists. operate: also start, stop and all operations.")],
    demo: Demo = False,
    as_json: Json = False,
) -> None:
    """Add a token and print it, this once: only its hash is stored."""
    settings = _settings(demo)
    claim(settings.home)
    token = TokenFile(settings.home).add(name, role, SystemClock().now_ms())
    echo(f"Token {name!r} with the role {role}. It is not shown again; `cryptoviz tokens revoke {name}` revokes it.", err=True)
    if as_json:
        echo_json({"name": name, "role": str(role), "token": token})
    else:
        echo(token)


def show(as_json: Json = False, demo: Demo = False) -> None:
    """List the tokens: name, role, time of creation. The owner's is the one in `control.token`."""
    settings = _settings(demo)
    rows = [(one.name, one.role, iso_ms(one.created_ms)) for one in TokenFile(settings.home).read()]
    if settings.token_file.exists():
        rows.insert(0, (OWNER, Role.OPERATE, iso_ms(int(settings.token_file.stat().st_mtime * 1000))))
    if as_json:
        echo_json({"tokens": [{"name": name, "role": str(role), "created": created} for name, role, created in rows]})
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("name", "role", "created"):
        table.add_column(column)
    for name, role, created in rows:
        table.add_row(name, str(role), created)
    terminal().print(table if rows else "No tokens yet: the first start makes the owner's.")


def rotate(name: Name, demo: Demo = False, as_json: Json = False) -> None:
    """Replace a token by a new one of the same name and role. The old one ends at once; running calls with it end within a second."""
    settings = _settings(demo)
    if name != OWNER:
        token = TokenFile(settings.home).rotate(name, SystemClock().now_ms())
        echo(f"Token {name!r} is replaced. The new one is not shown again.", err=True)
        if as_json:
            echo_json({"name": name, "token": token})
        else:
            echo(token)
        return
    if not settings.token_file.exists():
        raise SettingsError(f"{settings.token_file} does not exist: the first start makes it", setting="CRYPTOVIZ_HOME")
    write_private(settings.token_file, f"{new_token()}\n")
    if as_json:
        echo_json({"name": name, "token_file": str(settings.token_file)})
    else:
        echo(f"The owner's token is replaced; the new one is in {settings.token_file}.")


def revoke(name: Name, yes: Yes = False, demo: Demo = False, as_json: Json = False) -> None:
    """Revoke a token. New calls with it are refused at once; running ones, such as watches, end within a second."""
    if name == OWNER:
        raise UsageError("commands use the owner's token: `cryptoviz tokens rotate owner` replaces it", setting="NAME")
    settings = _settings(demo)
    confirm(f"Revoke the token {name!r}?", yes=yes)
    TokenFile(settings.home).revoke(name)
    if as_json:
        echo_json({"name": name, "revoked": True})
    else:
        echo(f"Token {name!r} is revoked.")


def _settings(demo: bool) -> Settings:
    settings = running_settings("demo" if demo else None)
    require_own_home(settings.home)
    return settings
