"""The selected coin: quote, chart and interval selector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import panel as pn

from cryptoviz.lake.ohlcv import INTERVALS_MS
from dashboard.page_session import Session
from dashboard.pages.chart import CandleChart
from dashboard.pages.parts import bar, button, card, choice, markup, set_markup
from dashboard.views.candles import Candle, choose_currency, join_currencies
from dashboard.views.markup import element, text
from dashboard.views.placeholders import state_markup
from dashboard.views.quote import other_currencies, quote_markup

__all__ = ["CoinPanel"]

_HISTORY_CANDLES = 500
_VOLUME_NOTE = "Bars: the provider's 24 h volume, last seen in the interval. Polling sees no trades, so there is no volume per candle."


class CoinPanel:
    """Shows a coin at an interval. `changed` is called after the user selects another interval."""

    def __init__(self, session: Session, coin: str, interval: str, changed: Callable[[], None]) -> None:
        self._session = session
        self.coin = coin
        self._stored: Mapping[str, Sequence[Candle]] = {}
        self._note = ""
        self._changed = changed
        self._quote = markup(quote_markup(None, coin), "cv-quote-pane", sizing_mode="stretch_width")
        self._interval = choice(list(INTERVALS_MS), interval, self._switched, "cv-intervals")
        self._chart: CandleChart | None = None  # created with the first candles: an empty chart logs a warning in the browser
        self._chart_pane: Any = None
        self._state = markup(state_markup("loading", "Waiting for prices"), sizing_mode="stretch_width", min_height=452)
        self._caption = markup(margin=(0, 10, 6, 10), sizing_mode="stretch_width")
        switches = bar(self._interval, button("Now", self._go_to_now, "cv-now"))
        self.view = card(bar(self._quote), switches, self._state, self._caption, css_class="cv-chart")
        self._load()

    @property
    def interval(self) -> str:
        return str(self._interval.value)

    def choose(self, coin: str, interval: str | None = None) -> None:
        """Select a coin and optionally an interval."""
        if coin == self.coin and interval in (None, self.interval):
            return
        self.coin, self._stored = coin, {}
        if interval is not None and interval != self.interval:
            self._interval.value = interval  # its watcher loads and draws
            return
        self._load()
        self.refresh()

    def refresh(self) -> None:
        live = self._session.app_context.live
        record = live.latest().get(self.coin)
        set_markup(self._quote, quote_markup(record, self.coin))
        series = join_currencies(self._stored, live.candles(self.coin, self.interval))
        ticks = {currency: sum(candle.ticks for candle in candles) for currency, candles in series.items()}
        currency = choose_currency(ticks)
        candles = series.get(currency, [])
        if candles:
            self._draw(candles, currency)
        elif self._chart_pane is not None:
            self._chart_pane.visible = False
        self._state.visible = not candles
        self._say(len(candles), currency, {other: count for other, count in ticks.items() if other != currency})

    def _draw(self, candles: Sequence[Candle], currency: str) -> None:
        chart = self._chart or CandleChart()
        chart.show(self.coin, INTERVALS_MS[self.interval], candles, currency)
        if self._chart is None:
            self._chart = chart
            self._chart_pane = pn.pane.Bokeh(chart.view, sizing_mode="stretch_width", margin=0)
            self.view.insert(-1, self._chart_pane)
        self._chart_pane.visible = True

    def _go_to_now(self) -> None:
        if self._chart is not None:
            self._chart.go_to_now()

    def _say(self, candles: int, currency: str, others: Mapping[str, int]) -> None:
        words = f"{candles} candles of {self.interval} from polled prices in {currency}, UTC. {other_currencies(others, 'ticks')} {_VOLUME_NOTE}"
        words = f"{words} {self._note}".strip()
        set_markup(self._caption, element("span", text(words), "cv-note"))

    def _switched(self) -> None:
        self._stored = {}
        self._load()
        self.refresh()
        self._changed()

    def _load(self) -> None:
        """Load older candles from the lake; live candles are shown meanwhile."""
        coin, interval = self.coin, self.interval
        step = INTERVALS_MS[interval]
        since_ms = self._session.now_ms() // step * step - _HISTORY_CANDLES * step
        future = self._session.app_context.history.candles(coin, interval, since_ms)
        self._session.when_done(future, partial(self._loaded, coin, interval), partial(self._not_loaded, coin, interval))

    def _loaded(self, coin: str, interval: str, candles: Mapping[str, Sequence[Candle]]) -> None:
        if (coin, interval) == (self.coin, self.interval):
            self._stored, self._note = candles, ""
            self.refresh()

    def _not_loaded(self, coin: str, interval: str, error: Exception) -> None:
        if (coin, interval) == (self.coin, self.interval):
            self._note = f"Older candles are not available: {error}"
            self.refresh()
