"""providers: state of the price providers; opening and closing their circuit breakers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import typer
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cryptoviz.cli.options import Yes, confirm, refuse_before_subcommand
from cryptoviz.cli.status_view import age
from cryptoviz.cli.terminal import echo, echo_json, printable, terminal
from cryptoviz.provider_status import BreakerState, ProviderStatus, QuotaStatus
from cryptoviz.running_pipeline import control_client, running_settings
from cryptoviz.times import utc

__all__ = ["providers_view", "register"]

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Name = Annotated[str, typer.Argument(help="Provider name, as `cryptoviz providers` shows it.", metavar="NAME")]
_BREAKER_STYLES = {BreakerState.CLOSED: "green", BreakerState.OPEN: "bold red", BreakerState.HALF_OPEN: "yellow"}


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    group = typer.Typer(help="Show the providers: state, breaker, quota, latency, last error; open and close their breakers.", rich_markup_mode=None)
    group.callback(invoke_without_command=True)(providers)
    group.command()(trip)
    group.command()(reset)
    app.add_typer(group, name="providers")


def providers(context: typer.Context, as_json: Json = False) -> None:
    """Show every provider in order of preference."""
    if context.invoked_subcommand is not None:
        refuse_before_subcommand(context)
        return
    with control_client(running_settings()) as client:
        rows = client.providers()
    if as_json:
        echo_json({"providers": [row.to_json_dict() for row in rows]})
    else:
        terminal().print(providers_view(rows))


def trip(
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Reason shown with the breaker's state. Default: opened by the operator.")] = "",
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Open a provider's breaker: no more polls until `reset`. Other providers are not affected."""
    confirm(f"Stop polling {name} until `cryptoviz providers reset {name}`?", yes=yes)
    with control_client(running_settings()) as client:
        _report(client.trip_breaker(name, reason), as_json=as_json)


def reset(name: Name, as_json: Json = False) -> None:
    """Close a provider's breaker and clear a hold that the provider imposed."""
    with control_client(running_settings()) as client:
        _report(client.reset_breaker(name), as_json=as_json)


def providers_view(rows: list[ProviderStatus], now_s: float | None = None) -> RenderableType:
    """One row per provider; notes on each below the table."""
    moment = time.time() if now_s is None else now_s
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, expand=False)
    for heading in ("provider", "state", "breaker", "turns", "quota", "latency"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "quota", justify="right" if heading in ("turns", "latency") else "left")
    notes: list[Text] = []
    for row in rows:
        notes += [Text.assemble((printable(f"{row.name}: "), "bold"), printable(note)) for note in _notes(row, moment)]
        scraper = row.scraper
        if scraper is None:
            table.add_row(row.name, str(row.state), "", "", "", "")
            continue
        state = scraper.breaker.state
        table.add_row(
            row.name,
            str(row.state),
            Text(state.value.replace("_", "-"), style=_BREAKER_STYLES[state]),
            f"{scraper.rate:.1%}" if scraper.rate < 1 else "all",
            "\n".join(_quota(quota) for quota in scraper.quotas) or "no limit",
            "" if scraper.latency_ms is None else f"{scraper.latency_ms:,.0f} ms",
        )
    return Group(table, *notes)


def _quota(quota: QuotaStatus) -> str:
    """Used, left, and the date of exhaustion, or of the reset if the quota lasts until then."""
    end = f"resets {_date(quota.resets_ms)}" if quota.exhausted_ms is None else f"runs out {_date(quota.exhausted_ms)}"
    return f"{quota.used:,} of {quota.limit:,} a {quota.period}\n{quota.left:,} left, {end}"


def _date(moment_ms: int) -> str:
    return utc(moment_ms).strftime("%Y-%m-%d")


def _notes(row: ProviderStatus, moment: float) -> Iterator[str]:
    scraper = row.scraper
    if scraper is None:
        yield row.message
        return
    breaker, hold = scraper.breaker, scraper.hold
    if breaker.by_operator:
        yield f"breaker opened by operator: {breaker.reason}"
    elif breaker.state is not BreakerState.CLOSED:
        probe = "" if breaker.probe_ms is None else f"; probe in {age(max(0.0, breaker.probe_ms / 1000 - moment))}"
        yield f"breaker {breaker.state.value.replace('_', '-')}: {breaker.reason}{probe}"
    if hold is not None:
        yield f"on hold for {age(max(0.0, hold.until_ms / 1000 - moment))}: {hold.reason}"
    if scraper.ids.problems:
        yield scraper.ids.text(row.name)
    if scraper.ids.note:
        yield f"ids not checked against the provider's list: {scraper.ids.note}"
    if scraper.last_error_ms is not None:
        yield f"last error {age(max(0.0, moment - scraper.last_error_ms / 1000))} ago: {scraper.last_error}"


def _report(row: ProviderStatus, *, as_json: bool) -> None:
    if as_json:
        echo_json(row.to_json_dict())
        return
    breaker = row.scraper.breaker if row.scraper is not None else None
    echo(f"{row.name}: breaker {breaker.state.value if breaker else 'unknown'} {breaker.reason if breaker else ''}".rstrip())
