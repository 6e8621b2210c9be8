"""Quote header of the selected coin."""

from __future__ import annotations

from collections.abc import Mapping

from cryptoviz.records import UnifiedRecord
from dashboard.views.markup import element, text
from dashboard.views.numbers import direction, format_compact, format_count, format_percent, format_price
from dashboard.views.source_badge import source_badge
from dashboard.views.texts import ENGLISH, Texts, say

__all__ = ["other_currencies", "quote_markup"]


def quote_markup(record: UnifiedRecord | None, coin: str, t: Texts = ENGLISH) -> str:
    """Name, price, change and facts of the selected coin, and the timestamps of the record, for measurements."""
    if record is None:
        return element("div", element("span", text(coin), "cv-quote-name") + element("span", text(t("no_price")), "cv-muted"), "cv-quote")
    change = record.change_24h_pct
    badge = source_badge(record)
    head = [
        element("span", f"{text(record.name)} {element('span', text(record.symbol), 'cv-muted')}", "cv-quote-name"),
        element(
            "button",
            text(format_price(record.price, record.quote_currency)),
            "cv-quote-price",
            type="button",
            title=t("tip_trace"),
            data_do="trace",
            data_asset=record.asset_id,
            data_tick=record.tick_ts,
        ),
        element("span", f"{text(format_percent(change))} {text(t('col_change_24h'))}", f"cv-change cv-{direction(change)}"),
    ]
    if badge.fallback is not None:
        head.append(element("span", text(f"{badge.provider} · {badge.fallback}"), "cv-badge cv-fallback", title=badge.tooltip))
    facts = [
        _fact(t("high_24h"), format_price(record.high_24h, record.quote_currency)),
        _fact(t("low_24h"), format_price(record.low_24h, record.quote_currency)),
        _fact(t("supply"), format_compact(record.circulating_supply)),
        _fact(t("consensus"), f"{format_price(record.consensus_price, record.quote_currency)} ({record.consensus_sources})"),
    ]
    return element("div", "".join(head), "cv-quote") + element("div", "".join(facts), "cv-facts") + _stamps(record)


def _fact(label: str, value: str) -> str:
    return element("span", f"{text(label)} {element('b', text(value))}")


def _stamps(record: UnifiedRecord) -> str:
    """Hidden element for benchmarks: timestamps of the displayed record, in UTC epoch ms."""
    return element(
        "span",
        "",
        "cv-latest-ingest",
        hidden="",
        data_asset=record.asset_id,
        data_tick_ts=record.tick_ts,
        data_ingest_ts=record.ingest_ts,
        data_price=repr(record.price),
        data_provider=record.provider,
        data_role=record.role,
    )


def other_currencies(counts: Mapping[str, int], what: str) -> str:
    """Sentence about omitted data in other currencies; empty if nothing is omitted."""
    if not counts:
        return ""
    parts = ", ".join(f"{format_count(count)} {say('in')} {currency or say('no currency')}" for currency, count in sorted(counts.items()))
    return say("Omitted: {what} in other currencies ({parts}).", what=what, parts=parts)
