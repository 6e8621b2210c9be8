"""Frames of the pages providers, topics and lake, and of the lower part of the pipeline page: places of their parts, and their forms. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.views.markup import element, text
from dashboard.views.operation_rows import KINDS
from dashboard.views.placeholders import state_markup
from dashboard.views.texts import say

__all__ = ["EXAMPLES", "lake_frame", "log_card", "operations_card", "providers_frame", "topics_frame"]

EXAMPLES: tuple[tuple[str, str], ...] = (
    ("Newest prices", "SELECT symbol, price, quote_currency, provider, role, tick_ts\nFROM prices\nORDER BY tick_ts DESC, symbol\nLIMIT 50"),
    (
        "Providers per hour",
        "SELECT date_trunc('hour', tick_ts) AS hour, provider, count(*) AS rows\nFROM prices\nGROUP BY ALL\nORDER BY hour DESC, rows DESC",
    ),
    ("Hourly candles", "SELECT ts, asset_id, open, high, low, close\nFROM candles_1h\nWHERE asset_id = 'bitcoin'\nORDER BY ts DESC\nLIMIT 48"),
    ("Open gaps", "SELECT asset_id, provider, from_ts, to_ts, missing, reason\nFROM gaps\nWHERE state <> 'filled'\nORDER BY from_ts DESC"),
)


def _card(title: str, head: str, body: str, classes: str) -> str:
    bar = element("div", element("h2", text(say(title)), "cv-title") + '<span class="cv-space"></span>' + head, "cv-bar") if title or head else ""
    return element("div", bar + body, f"cv-card {classes}")


def _place(part: str, loading: str, classes: str = "") -> str:
    return element("div", state_markup("loading", loading), classes, data_part=part)


def _field(label: str, name: str, kind: str = "text", **more: object) -> str:
    attributes = {"name": name, "type": kind} | more
    shown = "".join(f' {key}="{text(say(str(value)))}"' for key, value in attributes.items())
    return element("label", f"{text(say(label))} <input{shown}>", "cv-field")


def _select(label: str, name: str, options: Sequence[tuple[str, str]]) -> str:
    return element(
        "label",
        f"{text(say(label))} " + element("select", "".join(element("option", text(say(shown)), value=value) for value, shown in options), name=name),
        "cv-field",
    )


def _submit(label: str, classes: str) -> str:
    return element("button", text(say(label)), f"cv-button {classes}", type="submit")


def providers_frame(_language: str) -> str:
    """The table of providers."""
    return _card(
        "Providers", element("span", text(say("in order of preference")), "cv-note"), _place("providers.table", "Asking the scrapers"), "cv-providers"
    )


def topics_frame(_language: str) -> str:
    """Topics, a form to browse, records, dead letters."""
    starts = (("newest", "newest"), ("oldest", "oldest"), ("offset", "from an offset"), ("time", "from a time"))
    form = element(
        "form",
        element("span", "", "cv-chosen-topic", data_part="topics.chosen")
        + _select("Read from", "start", starts)
        + _field("Offset or time", "at", placeholder="1234 or 2026-01-31T12:00Z", size=24)
        + _field("Partition", "partition", placeholder="all", size=4, inputmode="numeric")
        + _field("Key", "key", placeholder="exact, such as bitcoin", size=18)
        + _field("Records", "limit", "number", value=20, min=1, max=100)
        + _submit("Browse", "cv-browse"),
        "cv-bar cv-form",
        data_act="browse",
    )
    return (
        _card("Topics", "", _place("topics.table", "Asking Kafka"), "cv-topics")
        + _card("Records", "", form + _place("topics.records", "Choose a topic", "cv-records-place"), "cv-browser")
        + _card("Dead letters", "", _place("topics.dead", "Reading the lake"), "cv-dead")
    )


def lake_frame(_language: str) -> str:
    """Totals, gaps, days, SQL, provenance."""
    examples = "".join(element("option", text(say(name)), value=sql) for name, sql in EXAMPLES)
    groups = element("option", text(say("Examples and saved queries")), value="") + element("optgroup", examples, label=say("Examples"))
    chooser = element("select", groups, "cv-queries", aria_label=say("Queries"))
    form = element(
        "form",
        element(
            "textarea",
            "",
            "cv-sql-text",
            name="sql",
            rows="5",
            spellcheck="false",
            aria_label="SQL",
            placeholder="SELECT … FROM prices, raw, dead_letters, gaps, candles_1m (5m, 1h, 1d), trades, trade_gaps, trade_candles_1m, candle_checks,"
            " quotes",
        )
        + element(
            "div",
            _submit("Run", "cv-run-sql")
            + chooser
            + element("button", text(say("Save")), "cv-button", type="button", data_do="save-sql")
            + element("span", "", "", data_part="lake.sql"),
            "cv-bar",
        )
        + element("ul", "", "cv-saved-queries", aria_label=say("Saved queries")),
        "cv-form-sql",
        data_act="run_sql",
    )
    trace = element(
        "form",
        _field("Coin", "asset", placeholder="bitcoin", size=14)
        + _field("Tick", "at", placeholder="newest, or 2026-01-31T12:00:00Z", size=30)
        + _submit("Trace", "cv-trace"),
        "cv-bar cv-form",
        data_act="trace",
    )
    return (
        _card(
            "",
            "",
            element("div", element("div", state_markup("loading", "Reading the lake"), "", data_part="lake.line"), "cv-bar")
            + element("div", "", "cv-strip-place", data_part="lake.strip"),
            "cv-lake-totals",
        )
        + _card("SQL", element("span", text(say("DuckDB, read-only")), "cv-note"), form + element("div", "", "", data_part="lake.result"), "cv-sql")
        + _card(
            "Provenance",
            element("span", text(say("from a price to its raw body, Kafka record and file")), "cv-note"),
            trace + element("div", "", "", data_part="lake.provenance"),
            "cv-trace-card",
        )
        + _card("Days", "", _place("lake.days", "Reading the lake", "cv-scroll"), "cv-lake-days")
    )


def operations_card() -> str:
    """The form that starts an operation, and the table."""
    form = element(
        "form",
        _select("Start", "kind", [(kind, kind) for kind in KINDS])
        + _field("Coin", "asset", placeholder="all, of a backfill", size=14)
        + _field("From", "from", placeholder="2026-01-31T12:00Z", size=18)
        + _field("To", "to", placeholder="2026-01-31T13:00Z", size=18)
        + _submit("Start operation", "cv-start-operation"),
        "cv-bar cv-form",
        data_act="start_operation",
        data_confirm=say("Start this operation?"),
    )
    return _card("Operations", "", form + _place("pipeline.operations", "Asking the control service"), "cv-operations")


def log_card() -> str:
    """The tail of a component's log."""
    return _card("Log", element("span", "", "", data_part="pipeline.logname"), element("div", "", "", data_part="pipeline.log"), "cv-log")
