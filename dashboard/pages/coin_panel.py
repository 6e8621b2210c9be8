"""The chosen coin: its quote, its chart and the switch of intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import panel as pn
import panel_material_ui as pmui

from dashboard.pages.chart import CandleChart
from dashboard.session import Session
from dashboard.styles import LAYOUT, PARTS
from dashboard.view_logic.candles import INTERVALS_MS, Candle, join_candles
from dashboard.view_logic.markup import element, text
from dashboard.view_logic.quote import quote_markup, state_markup

__all__ = ["CoinPanel"]

_HISTORY_CANDLES = 500
_VOLUME_NOTE = "Bars: the 24 h volume that the provider reported, as last seen in the interval. Polling sees no trades, so no volume per candle."


class CoinPanel:
    """Shows one coin at one interval. `changed` is called after the user picks another interval."""

    def __init__(self, session: Session, coin: str, interval: str, changed: Callable[[], None]) -> None:
        self._session = session
        self.coin = coin
        self._stored: Sequence[Candle] = ()
        self._note = ""
        self._changed = changed
        self._quote = pn.pane.HTML(
            quote_markup(None, coin), stylesheets=[PARTS], margin=0, sizing_mode="stretch_width", css_classes=["cv-quote-pane"]
        )
        self._interval = pmui.RadioButtonGroup(
            options=list(INTERVALS_MS), value=interval, size="small", margin=0, css_classes=["cv-intervals"], sx=_BUTTONS
        )
        self._interval.param.watch(lambda _event: self._switched(), "value")
        now = pmui.Button(
            label="Now",
            size="small",
            variant="outlined",
            margin=0,
            on_click=lambda _event: self._chart.go_to_now(),
            css_classes=["cv-now"],
            sx=_BUTTON,
        )
        self._chart = CandleChart()
        self._chart_pane = pn.pane.Bokeh(self._chart.view, sizing_mode="stretch_width", margin=0, visible=False)
        self._state = pn.pane.HTML(
            state_markup("loading", "Waiting for prices"), stylesheets=[PARTS], margin=0, sizing_mode="stretch_width", min_height=452
        )
        self._caption = pn.pane.HTML("", stylesheets=[PARTS], margin=(0, 10, 6, 10), sizing_mode="stretch_width")
        bar = pn.Row(self._quote, css_classes=["cv-bar"], stylesheets=[LAYOUT], sizing_mode="stretch_width")
        switches = pn.Row(self._interval, now, css_classes=["cv-bar"], stylesheets=[LAYOUT], sizing_mode="stretch_width")
        self.view = pn.Column(
            bar, switches, self._state, self._chart_pane, self._caption,
            css_classes=["cv-card", "cv-chart"], stylesheets=[LAYOUT], sizing_mode="stretch_width",
        )  # fmt: skip
        self._load()

    @property
    def interval(self) -> str:
        """Name of the interval shown."""
        return str(self._interval.value)

    def choose(self, coin: str, interval: str | None = None) -> None:
        """Show another coin, or the same at another interval."""
        if coin == self.coin and interval in (None, self.interval):
            return
        self.coin, self._stored = coin, ()
        if interval is not None and interval != self.interval:
            self._interval.value = interval  # loads and draws by its watcher
            return
        self._load()
        self.refresh()

    def refresh(self) -> None:
        """Show the state as it is."""
        live = self._session.hub.live
        record = live.latest().get(self.coin)
        markup = quote_markup(record, self.coin)
        if self._quote.object != markup:
            self._quote.object = markup
        ticks = live.candles(self.coin, self.interval)
        candles = join_candles(self._stored, ticks.candles, ticks.complete_from_ms)
        self._chart_pane.visible = bool(candles)
        self._state.visible = not candles
        if candles:
            self._chart.show(self.coin, INTERVALS_MS[self.interval], candles, record.quote_currency if record else "USD")
        self._say(len(candles))

    def _say(self, candles: int) -> None:
        words = f"{candles} candles of {self.interval} from observed prices, UTC. {_VOLUME_NOTE} {self._note}".strip()
        caption = element("span", text(words), "cv-note")
        if self._caption.object != caption:
            self._caption.object = caption

    def _switched(self) -> None:
        self._stored = ()
        self._load()
        self.refresh()
        self._changed()

    def _load(self) -> None:
        """Ask the lake for older candles; the live ones show meanwhile."""
        coin, interval = self.coin, self.interval
        step = INTERVALS_MS[interval]
        since_ms = self._session.now_ms() // step * step - _HISTORY_CANDLES * step
        future = self._session.hub.history.candles(coin, interval, since_ms)
        self._session.when_done(future, partial(self._loaded, coin, interval), partial(self._not_loaded, coin, interval))

    def _loaded(self, coin: str, interval: str, candles: Sequence[Candle]) -> None:
        if (coin, interval) == (self.coin, self.interval):
            self._stored, self._note = candles, ""
            self.refresh()

    def _not_loaded(self, coin: str, interval: str, error: Exception) -> None:
        if (coin, interval) == (self.coin, self.interval):
            self._note = f"Older candles are missing: {error}"
            self.refresh()


_BUTTON: dict[str, Any] = {"height": "26px", "minWidth": "44px", "textTransform": "none", "fontSize": "12px", "padding": "0 10px"}
_BUTTONS: dict[str, Any] = {"& .MuiToggleButton-root": {"height": "26px", "padding": "0 12px", "textTransform": "none", "fontSize": "12px"}}
