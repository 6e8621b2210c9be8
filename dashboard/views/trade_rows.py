"""Rows of the page of trades: streams, instruments, tape, gaps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptoviz.components import ComponentState, ComponentStatus
from cryptoviz.trades.gap_change import GapChange
from cryptoviz.trades.gaps import TradeGapState
from cryptoviz.trades.quote import QuoteRecord
from cryptoviz.trades.record import Side, Source, Trade
from dashboard.views.header import state_class
from dashboard.views.markup import element, text
from dashboard.views.numbers import UNKNOWN, format_count, format_number
from dashboard.views.texts import Texts

__all__ = ["GAPS_SHOWN", "Instrument", "InstrumentNow", "gap_table", "instrument_table", "parse_instrument", "stream_table", "tape_row"]

GAPS_SHOWN = 20
_LIVE_MS = 10_000
_STREAM_METRICS = ("trades_per_s", "gaps_open", "refilled_total", "duplicates_dropped_total", "reconnects_total")


@dataclass(frozen=True, slots=True)
class Instrument:
    """A market of a venue; `symbol` is the venue's own name of it."""

    venue: str
    symbol: str
    asset_id: str
    quote_currency: str

    @property
    def name(self) -> str:
        """For addresses and forms."""
        return f"{self.venue}:{self.symbol}"


@dataclass(frozen=True, slots=True)
class InstrumentNow:
    """An instrument, its newest trade, trades a second, open gaps, trades missing in open and permanent ones, halts, and its last quote."""

    instrument: Instrument
    newest: Trade | None
    rate: float
    open_gaps: int
    missing: int
    halts: int
    quote: QuoteRecord | None = None


def parse_instrument(name: str, known: Iterable[Instrument]) -> Instrument | None:
    """The known instrument of that name. Untrusted."""
    return next((one for one in known if one.name == name), None)


def tape_row(number: int, trade: Trade) -> list[object]:
    """Values for the tape: number, time (UTC epoch ms), whether the taker bought, price and size as the venue wrote them, id, whether refilled."""
    at_ms = (trade.ingest_ts if trade.venue_ts is None else trade.venue_ts) // 1000
    return [number, at_ms, trade.side == Side.BUY, trade.price, trade.size, trade.trade_id, trade.source == Source.REFILL]


def stream_table(streams: Sequence[ComponentStatus], t: Texts) -> str:
    """State and counts of each stream."""
    names = ("stream", "state", "connected_", "per_s", "open_gaps", "refilled", "duplicates", "reconnects")
    wide = {"refilled", "duplicates", "reconnects"}
    head = "".join(
        element("th", text(t(f"tr_{name}")), ("cv-right" if at > 1 else "") + (" cv-wide-only" if name in wide else ""), scope="col")
        for at, name in enumerate(names)
    )
    rows = "".join(_stream_row(one) for one in streams)
    return element("table", element("thead", element("tr", head)) + element("tbody", rows), "cv-table cv-streams")


def _stream_row(one: ComponentStatus) -> str:
    metrics = one.metrics
    acked = f"{_count(metrics.get('instruments_acked'))}/{_count(metrics.get('instruments'))}"
    shown = [acked, *(_count(metrics.get(name)) for name in _STREAM_METRICS)]
    why = "" if one.state is ComponentState.RUNNING or not one.message else element("small", text(one.message), "cv-msg")
    cells = element("td", element("span", element("b", text(one.name)) + why, "cv-comp")) + element(
        "td", element("span", text(one.state), f"cv-chip {state_class(one.state)}")
    )
    for at, value in enumerate(shown):
        warn = " cv-warn" if at == 2 and metrics.get("gaps_open") else ""
        cells += element("td", text(value), "cv-right cv-num" + (" cv-wide-only" if at > 2 else "") + warn)
    return element("tr", cells, "cv-stream", data_key=one.name)


def _count(value: float | None) -> str:
    if value is None or value != value:
        return UNKNOWN
    return format_count(value) if float(value).is_integer() else format_number(value, 1)


def instrument_table(rows: Sequence[InstrumentNow], chosen: Instrument | None, silent_ms: int, t: Texts, *, quotes: bool = False) -> str:
    """A row for each instrument: its newest price, its spread if `quotes` are on, trades a second, age of the last trade, gaps and halts."""
    names = ("instrument", "price", *(("spread",) if quotes else ()), "per_s", "age", "gaps")
    heads = [(name, "" if name == "instrument" else "cv-right") for name in names]
    head = "".join(element("th", text(t(f"tr_{name}")), classes, scope="col", title=t(f"tr_tip_{name}")) for name, classes in heads)
    body = "".join(_instrument_row(one, chosen, silent_ms, t, quotes=quotes) for one in rows)
    return element("table", element("thead", element("tr", head)) + element("tbody", body), "cv-table cv-instruments")


def _instrument_row(one: InstrumentNow, chosen: Instrument | None, silent_ms: int, t: Texts, *, quotes: bool) -> str:
    instrument, newest = one.instrument, one.newest
    name = element(
        "button", text(instrument.symbol), "cv-link", type="button", data_act="instrument", data_name=instrument.name,
        aria_pressed=str(instrument == chosen).lower(),
    )  # fmt: skip
    price = UNKNOWN if newest is None else f"{newest.price} {instrument.quote_currency}"
    complete = element("span", text(UNKNOWN if newest is None else t("tr_complete")), "cv-muted")
    at_ms = None if newest is None else (newest.ingest_ts if newest.venue_ts is None else newest.venue_ts) // 1000
    age = element("cv-age", "", "cv-age", data_tick=at_ms, data_live=min(_LIVE_MS, silent_ms), data_late=max(_LIVE_MS, silent_ms))
    marks = []
    if one.missing:
        marks.append(element("span", text(f"{t('tr_missing')} {format_count(one.missing)}"), "cv-badge cv-fallback"))
    elif one.open_gaps:
        marks.append(element("span", text(t("tr_gap")), "cv-badge cv-fallback"))
    if one.halts:
        marks.append(element("span", text(f"{t('tr_halts')} {format_count(one.halts)}"), "cv-badge"))
    cells = (
        element("td", element("span", name + element("small", text(instrument.venue)), "cv-comp"))
        + element("td", text(price), "cv-right cv-num cv-instrument-price")
        + (_spread_cell(one.quote) if quotes else "")
        + element("td", text(format_number(one.rate, 1)), "cv-right cv-num")
        + element("td", age, "cv-right")
        + element("td", " ".join(marks) or complete, "cv-right")
    )
    return element("tr", cells, "cv-chosen" if instrument == chosen else "", data_key=instrument.name, data_instrument=instrument.name)


def _spread_cell(quote: QuoteRecord | None) -> str:
    """In hundredths of a percent, and the two prices as the venue wrote them."""
    if quote is None:
        return element("td", text(UNKNOWN), "cv-right cv-num cv-spread")
    both = element("small", text(f" {quote.bid} / {quote.ask}"), "cv-muted cv-wide-only")
    return element("td", text(format_number(quote.spread_bps, 2)) + both, "cv-right cv-num cv-spread")


def gap_table(gaps: Sequence[GapChange], t: Texts) -> str:
    """The newest gaps and halts of an instrument."""
    if not gaps:
        return element("p", text(t("tr_no_gaps")), "cv-note cv-no-gaps")
    head = "".join(
        element("th", text(t(f"tr_{name}")), classes, scope="col")
        for name, classes in (("found", ""), ("state", ""), ("ids", ""), ("missing", "cv-right"), ("refilled", "cv-right cv-wide-only"))
    )
    rows = "".join(
        element(
            "tr",
            element("td", element("cv-time", "", "cv-num", data_ms=gap.opened_ts // 1000))
            + element("td", _gap_state(gap, t))
            + element("td", text(f"{gap.first_id} – {gap.last_id}"), "cv-num")
            + element("td", text(format_count(gap.missing)), "cv-right cv-num")
            + element("td", text(format_count(gap.refilled + gap.late)), "cv-right cv-num cv-wide-only"),
            "cv-trade-gap",
            data_key=gap.gap_id,
            data_state=gap.state,
        )
        for gap in gaps[:GAPS_SHOWN]
    )
    return element("table", element("thead", element("tr", head)) + element("tbody", rows), "cv-table cv-trade-gaps")


def _gap_state(gap: GapChange, t: Texts) -> str:
    kinds = {TradeGapState.OPEN: "cv-chip-warn", TradeGapState.PERMANENT: "cv-chip-bad", TradeGapState.REFILLED: "cv-chip-good"}
    known = gap.state in tuple(TradeGapState)
    words = t(f"tr_state_{gap.state}") if known else gap.state
    why = element("small", text(f" {gap.reason}"), "cv-muted") if gap.reason else ""
    return element("span", text(words), f"cv-chip {kinds.get(TradeGapState(gap.state), 'cv-chip-off') if known else 'cv-chip-off'}") + why
