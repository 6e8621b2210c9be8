"""The Trades page: streams, instruments, the tape of one of them, and its gaps. Only while streams are on."""

from __future__ import annotations

from collections.abc import Mapping

from cryptoviz.components import ComponentKind
from dashboard.page_session import Session
from dashboard.pages.page import Page, PageKind
from dashboard.shared_state import CONNECTING
from dashboard.views.link import Link
from dashboard.views.markup import element, text
from dashboard.views.placeholders import state_markup
from dashboard.views.texts import texts
from dashboard.views.trade_rows import Instrument, gap_table, instrument_table, parse_instrument, stream_table, tape_row
from dashboard.views.trades_frame import trades_frame

__all__ = ["KIND", "TradesPage"]

_ROWS = 60
"""Of the tape, in the browser."""


class TradesPage(Page):
    """Verbs: instrument (name), coin (coin)."""

    def __init__(self, session: Session, link: Link) -> None:
        super().__init__(session, link)
        self._texts = texts(link.language)
        self._chosen: Instrument | None = None
        self._generation = 0
        self._last = -1
        """Number of the newest trade that the browser has; -1: none of this instrument."""

    def forget(self) -> None:
        self._last = -1

    def act(self, verb: str, values: Mapping[str, str]) -> None:
        state = self.session.app_context.trades
        if verb == "instrument" and state is not None:
            found = parse_instrument(values.get("name", ""), (one.instrument for one in state.instruments(self.session.now_ms())))
            if found is not None and found != self._chosen:
                self._chosen, self._last = found, -1

    def refresh(self) -> None:
        state = self.session.app_context.trades
        if state is None:
            return
        state.wait(self.session.wake)
        t = self._texts
        rows = state.instruments(self.session.now_ms())
        if self._chosen is None:
            known = [one.instrument for one in rows]
            self._chosen = next((one for one in known if one.asset_id == self.link.coin), known[0] if known else None)
        silent_ms = round(self.session.app_context.settings.streams.silent_s * 1000)
        status = state.status
        lost = "" if status.connected or status.message == CONNECTING else state_markup("error", t("tr_lost"), status.message)
        quotes = self.session.app_context.settings.streams.quotes
        self.out.put("trades.instruments", lost + instrument_table(rows, self._chosen, silent_ms, t, quotes=quotes))
        self._put_streams()
        if self._chosen is None:
            return
        self.out.put("trades.gaps", gap_table(state.gaps(self._chosen)[1], t))
        self.out.put("trades.chosen", _chosen(self._chosen))
        generation = state.generation
        if generation != self._generation:
            self._generation, self._last = generation, -1
        new = state.tape(self._chosen, self._last, _ROWS)
        if new or self._last < 0:
            whole = self._last < 0
            values = [tape_row(number, trade) for number, trade in new]
            self.out.put_once("trades.tape", {"whole": whole, "rows": values, "most": _ROWS, "currency": self._chosen.quote_currency})
            self._last = new[0][0] if new else 0

    def _put_streams(self) -> None:
        pipeline, _ = self.session.app_context.control.read()
        streams = [] if pipeline is None else [one for one in pipeline.components if one.kind is ComponentKind.STREAM]
        self.out.put("trades.streams", stream_table(streams, self._texts))


def _chosen(instrument: Instrument) -> str:
    return element("span", text(f"{instrument.symbol} · {instrument.venue}"), "cv-title cv-chosen-instrument", data_name=instrument.name)


KIND = PageKind("trades", "trades", trades_frame, TradesPage, when=lambda settings: settings.streams.on)
