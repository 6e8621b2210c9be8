"""Markup of a price's provenance: from the row back to the raw body, the records in Kafka and the files of the lake. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from dashboard.views.markup import element, text
from dashboard.views.numbers import format_count
from dashboard.views.texts import say
from dashboard.views.topic_rows import pretty

__all__ = ["Traced", "provenance_markup"]

_OF_PRICE = (
    "asset_id", "tick_ts", "price", "quote_currency", "provider", "provider_asset_id", "role", "fallback_reason", "consensus_price",
    "consensus_sources", "spread_bps", "disagrees", "source_ts", "ingest_ts", "attempt", "event_id", "fetch_id",
)  # fmt: skip
_OF_EXCHANGE = ("provider", "endpoint", "status", "outcome", "error", "started_ts", "finished_ts", "attempt", "rate_limit_headers", "fetch_id")
_MAX_BODY = 2**16


class Traced(Protocol):
    """The used part of `cryptoviz.lake.provenance.StoredRow`."""

    @property
    def table(self) -> str: ...
    @property
    def values(self) -> dict[str, Any]: ...
    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def file(self) -> str | None: ...
    @property
    def maybe(self) -> tuple[str, ...]: ...


def provenance_markup(price: Traced, exchange: Traced | None) -> str:
    """The steps from the price to its source."""
    steps = _step("Price in the lake", price, _OF_PRICE)
    if exchange is None:
        note = element(
            "p",
            text(
                say("The lake does not have the exchange of this price (yet): raw exchanges are committed separately, and kept for a limited time.")
            ),
            "cv-note",
        )
        return element("div", steps + element("section", element("h3", text(say("HTTP exchange"))) + note), "cv-provenance")
    body = exchange.values.get("body")
    raw = None if body is None else str(body).encode()[:_MAX_BODY]
    size = 0 if body is None else len(str(body).encode())
    shown = element(
        "details",
        element("summary", text(say("Raw body, {count} bytes", count=format_count(size))))
        + element("pre", text(pretty(raw, size)), "cv-json cv-raw-body", tabindex="0"),
    )
    return element("div", steps + _step("HTTP exchange", exchange, _OF_EXCHANGE, shown), "cv-provenance")


def _step(title: str, row: Traced, names: tuple[str, ...], more: str = "") -> str:
    place = f"{row.topic}:{row.partition}:{row.offset}"
    file = row.file or (say("one of {count} compacted files of its day", count=len(row.maybe)) if row.maybe else say("not in the log"))
    facts: dict[str, object] = {say("Kafka record"): place, say("file of {table}", table=row.table): file}
    facts |= {name: _value(row.values, name) for name in names if row.values.get(name) is not None}
    classes = {say("Kafka record"): "Kafka", say("file of {table}", table=row.table): "file"}
    pairs = "".join(
        element("div", element("dt", text(name)) + element("dd", text(value), f"cv-fact-{classes.get(name, name)}")) for name, value in facts.items()
    )
    browse = element(
        "button",
        text(say("Show the record")),
        "cv-act",
        type="button",
        data_do="record",
        data_topic=row.topic,
        data_partition=row.partition,
        data_at=row.offset,
    )
    return element("section", element("h3", text(say(title))) + element("dl", pairs, "cv-stats") + browse + more)


def _value(values: Mapping[str, Any], name: str) -> object:
    value = values[name]
    return value.isoformat() if isinstance(value, datetime) else value
