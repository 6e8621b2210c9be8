"""alerts: rules that the dashboard's process evaluates, and what they fired. Works on Redis; asks the control service for names of components."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from cryptoviz.alerts.draft import Draft, Known, make_rule
from cryptoviz.alerts.evaluate import Firing, RuleState, firing_of
from cryptoviz.alerts.rule import Kind, Rule, describe
from cryptoviz.alerts.store import HISTORY, AlertStore, new_rule_id
from cryptoviz.cli.options import Yes, confirm, invalid_arguments
from cryptoviz.cli.terminal import echo, echo_json, terminal
from cryptoviz.clock import SystemClock
from cryptoviz.errors import SettingsError, TerminalError, TransientError
from cryptoviz.running_pipeline import control_client, running_settings
from cryptoviz.settings import Settings
from cryptoviz.times import iso_ms

__all__ = ["register"]

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Id = Annotated[str, typer.Argument(help="Id of the rule, as `cryptoviz alerts list` shows it.", metavar="ID")]
_NO_RULES = "No alerts yet: `cryptoviz alerts add --help`."
_COMMON = "Default: that of the kind."
_TEST = "This is a test: nothing has happened."
_TEST_RULE = Rule(rule_id="test", kind=Kind.PRICE, subject="bitcoin", threshold=Decimal(100_000))


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    text = "Add, list, mute, test and remove alerts; show what fired. The dashboard's process evaluates them, whether a browser is open or not."
    group = typer.Typer(help=text, rich_markup_mode=None, no_args_is_help=True)
    for name, command in (
        ("list", show),
        ("add", add),
        ("remove", remove),
        ("mute", mute),
        ("unmute", unmute),
        ("history", history),
        ("test", send_test),
    ):
        group.command(name)(command)
    app.add_typer(group, name="alerts")


def show(as_json: Json = False) -> None:
    """List the rules with their states: armed, or active while the condition holds."""
    loaded = AlertStore(running_settings()).load()
    rows = [(rule, loaded.states.get(rule.rule_id, RuleState())) for rule in loaded.rules]
    if as_json:
        echo_json({"alerts": [rule_json(rule, state) for rule, state in rows]})
        return
    table = _table("id", "condition", "state", "last fired", "cool-down", "note")
    for rule, state in rows:
        last = "" if state.last_fired_ms is None else iso_ms(state.last_fired_ms)
        table.add_row(rule.rule_id, describe(rule), _state(rule, state), last, f"{rule.cool_down_s} s", rule.note)
    terminal().print(table if rows else _NO_RULES)


def add(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(Kind)}.", metavar="KIND")],
    subject: Annotated[str, typer.Argument(help="Coin (id, symbol or name) or component; `all` of them, except for price and change.")],
    above: Annotated[
        str, typer.Option(help=f"Fire at this value or above: price, percent, age (`2m`), basis points of spread, missing ticks. {_COMMON}")
    ] = "",
    below: Annotated[str, typer.Option(help="Fire at this value or below. For price and change. Default: --above is used.")] = "",
    over: Annotated[str, typer.Option(help="Window of a change: `15m`; `1h`, `24h` and `7d` are the providers' own. Default: none.")] = "",
    state: Annotated[list[str] | None, typer.Option(help="State of a component; may be repeated. Default: DEGRADED, BACKOFF, FAILED.")] = None,
    quote: Annotated[str, typer.Option(help="Quote currency of a price. Default: USD.")] = "",
    hysteresis: Annotated[str, typer.Option(help=f"Percent of the threshold that the value must return before it fires again. {_COMMON}")] = "",
    cool_down: Annotated[str, typer.Option(help="Minimum time between two firings, such as `10m`. Default: 5m.")] = "",
    note: Annotated[str, typer.Option(help="Text that notices and messages carry. Default: none.")] = "",
    as_json: Json = False,
) -> None:
    """Add a rule and print its id. It takes effect within 5 seconds, from the next tick."""
    settings = running_settings()
    draft = Draft(
        kind=kind, subject=subject, above=above, below=below, over=over, states=tuple(state or ()), quote_currency=quote,
        hysteresis_pct=hysteresis, cool_down=cool_down, note=note,
    )  # fmt: skip
    known = _known(settings, kind)
    with invalid_arguments():
        rule = make_rule(draft, new_rule_id(), SystemClock().now_ms(), known)
    AlertStore(settings).add(rule)
    if as_json:
        echo_json(rule_json(rule, RuleState()))
        return
    echo(f"Alert {rule.rule_id}: {describe(rule)}.", err=True)
    echo(rule.rule_id)


def remove(rule_id: Id, yes: Yes = False, as_json: Json = False) -> None:
    """Delete a rule. Its firings stay in the history."""
    store = AlertStore(running_settings())
    confirm(f"Remove the alert {describe(store.rule(rule_id))!r}?", yes=yes)
    rule = store.remove(rule_id)
    if as_json:
        echo_json({"id": rule.rule_id, "removed": True})
    else:
        echo(f"Alert {rule.rule_id} is removed: {describe(rule)}.")


def mute(rule_id: Id, as_json: Json = False) -> None:
    """Record the firings of a rule in the history only, without a notice on the page or a message."""
    _mute(rule_id, muted=True, as_json=as_json)


def unmute(rule_id: Id, as_json: Json = False) -> None:
    """End `mute`."""
    _mute(rule_id, muted=False, as_json=as_json)


def history(
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=HISTORY, help="Number of rows to show.")] = 50,
    as_json: Json = False,
) -> None:
    """Show the last firings, the newest first, with the results of their deliveries."""
    firings = AlertStore(running_settings()).history(count)
    if as_json:
        echo_json({"firings": [firing_json(firing) for firing in firings]})
        return
    table = _table("time", "condition", "subject", "value", "delivery")
    for firing in firings:
        others = f" and {firing.others} more" if firing.others else ""
        sent = "muted" if firing.rule.muted else "; ".join(f"{channel}: {text}" for channel, text in firing.deliveries.items())
        table.add_row(iso_ms(firing.at_ms), describe(firing.rule), f"{firing.subject}{others}", f"{firing.value} {firing.rule.unit}".strip(), sent)
    terminal().print(table if firings else "No alert has fired yet.")


def send_test(
    rule_id: Annotated[str, typer.Argument(help="Id of the rule whose message is sent. Default: a message about none.", metavar="[ID]")] = "",
    as_json: Json = False,
) -> None:
    """Send a test message to each receiver, now and once, from this command. Exit code 1 if one did not take it."""
    from cryptoviz.alerts.channels import channels_of

    settings, clock = running_settings(), SystemClock()
    channels = channels_of(settings, clock)
    if not channels:
        text = (
            "no receiver is configured: set CRYPTOVIZ_ALERTS__WEBHOOK_URL, or CRYPTOVIZ_ALERTS__SMTP_HOST, MAIL_FROM and MAIL_TO; "
            "a pipeline that runs has the settings that it was started with: stop it and start it again"
        )
        raise SettingsError(text, setting="CRYPTOVIZ_ALERTS__WEBHOOK_URL")
    rule = replace(AlertStore(settings).rule(rule_id), note=_TEST) if rule_id else replace(_TEST_RULE, note=_TEST)
    firing, results = firing_of(rule, rule.subject, "0" if rule.unit else _TEST, clock.now_ms()), {}
    for channel in channels:
        try:
            channel.send(firing)
            results[channel.name] = "sent"
        except (TransientError, TerminalError) as error:
            results[channel.name] = str(error)
    if as_json:
        echo_json({"deliveries": results})
    else:
        echo("\n".join(f"{name}: {text}" for name, text in results.items()))
    raise typer.Exit(0 if set(results.values()) == {"sent"} else 1)


def rule_json(rule: Rule, state: RuleState) -> dict[str, Any]:
    """A rule and its state; exact numbers as text, times in ISO 8601."""
    return {
        "id": rule.rule_id, "condition": describe(rule), "kind": rule.kind, "subject": rule.subject, "direction": rule.direction,
        "threshold": str(rule.threshold), "unit": rule.unit, "window_s": rule.window_s, "states": list(rule.states),
        "hysteresis_pct": str(rule.hysteresis_pct), "cool_down_s": rule.cool_down_s, "muted": rule.muted, "note": rule.note,
        "created": iso_ms(rule.created_ms), "state": _state(rule, state), "holds": list(state.holds),
        "last_fired": None if state.last_fired_ms is None else iso_ms(state.last_fired_ms),
    }  # fmt: skip


def firing_json(firing: Firing) -> dict[str, Any]:
    """A firing; exact numbers as text, times in ISO 8601."""
    return {
        "id": firing.firing_id, "time": iso_ms(firing.at_ms), "alert": firing.rule.rule_id, "condition": describe(firing.rule),
        "subject": firing.subject, "others": firing.others, "value": firing.value, "unit": firing.rule.unit, "muted": firing.rule.muted,
        "deliveries": firing.deliveries,
    }  # fmt: skip


def _known(settings: Settings, kind: str) -> Known:
    names: list[str] = []
    if kind == Kind.COMPONENT:
        with control_client(settings) as client:
            names = [component.name for component in client.list().components]
    return Known(settings.assets, settings.collect.tick_ms, settings.collect.disagree_bps, names)


def _mute(rule_id: str, *, muted: bool, as_json: bool) -> None:
    rule = AlertStore(running_settings()).change(rule_id, lambda before: replace(before, muted=muted))
    if as_json:
        echo_json({"id": rule.rule_id, "muted": rule.muted})
    else:
        echo(f"Alert {rule.rule_id} is {'muted' if muted else 'no longer muted'}: {describe(rule)}.")


def _state(rule: Rule, state: RuleState) -> str:
    word = "armed" if state.active_since_ms is None else "active"
    return f"{word}, muted" if rule.muted else word


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name)
    return table
