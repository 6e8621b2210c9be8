"""The Coin page: quote, chart, history and statistics of the selected coin. It is also shown beside the coin table."""

from __future__ import annotations

from collections.abc import Mapping

from cryptoviz.lake.ohlcv import INTERVALS_MS
from dashboard.page_session import Session
from dashboard.pages.chart_part import ChartPart
from dashboard.pages.history_part import HistoryPart
from dashboard.pages.page import Page, PageKind
from dashboard.pages.trace_part import TracePart
from dashboard.views.coin_frame import coin_frame
from dashboard.views.link import Link
from dashboard.views.quote import quote_markup
from dashboard.views.texts import texts

__all__ = ["KIND", "CoinPage"]


class CoinPage(Page):
    """Verbs: choose (coin, tf), currency, venue, older, compare, overlay, range, turn, download, trace (asset, at)."""

    def __init__(self, session: Session, link: Link) -> None:
        super().__init__(session, link)
        self._texts = texts(link.language)
        self._chart = ChartPart(session, link.coin, link.interval, self._texts)
        self._history = HistoryPart(session, link.coin)
        self._trace = TracePart(session)

    def refresh(self) -> None:
        coin = self._chart.coin
        self.out.put("quote", quote_markup(self.session.app_context.live.latest().get(coin), coin, self._texts))
        self._chart.refresh()
        self._history.refresh()
        self._trace.refresh()
        if self._trace.changed:
            self._trace.changed = False
            self.out.put_once("provenance", self._trace.markup)

    def forget(self) -> None:
        self._chart.forget()

    def act(self, verb: str, values: Mapping[str, str]) -> None:
        match verb:
            case "choose":
                self._choose(values.get("coin", ""), values.get("tf", ""))
            case "currency":
                self._chart.choose_currency(values.get("value", ""))
            case "venue":
                self._chart.choose_venue(values.get("value", ""))
            case "older":
                self._chart.older()
            case "compare":
                self._chart.compare(self._known(values.get("coin", "")))
            case "overlay":
                self._chart.overlay(values.get("on") == "true")
            case "trace":
                self._trace.start(self._known(values.get("asset", "")), values.get("at", ""))
            case _:
                self._history.act(verb, values)

    def _choose(self, coin: str, interval: str) -> None:
        coin = self._known(coin) or self._chart.coin
        self._chart.choose(coin, interval if interval in INTERVALS_MS else self._chart.interval)
        self._history.choose(coin)

    def _known(self, coin: str) -> str:
        known = coin in self.session.app_context.live.latest() or any(asset.asset_id == coin for asset in self.session.app_context.settings.assets)
        return coin if known else ""


KIND = PageKind("coin", "coin", coin_frame, CoinPage)
