"""The candle chart of a coin: stored candles joined with live ones, sent whole once, then only older candles and the last ones that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from cryptoviz.lake.ohlcv import INTERVALS_MS
from dashboard.feeds.history_cache import Marks
from dashboard.page_session import Session
from dashboard.pages.trade_candles import POLLED, TradeCandles
from dashboard.views.candles import Candle, change_of, choose_currency, join_currencies
from dashboard.views.chart_values import candle_columns, candle_rows
from dashboard.views.markup import element, text
from dashboard.views.overlay import Overlay, overlay_values
from dashboard.views.quote import other_currencies
from dashboard.views.texts import Texts, say
from dashboard.views.trade_rows import Instrument

__all__ = ["ChartPart"]

_FIRST_CANDLES = 500
_MOST_CANDLES = 43_200  # 30 days of a minute
_EACH_OLDER = 8
_VOLUME_NOTE = "Bars: the provider's 24 h volume, last seen in the interval. Polling sees no trades, so there is no volume per candle."


_Key = tuple[str, str, str, str]
"""Coin, interval, quote currency, instrument (empty: polled prices)."""


class ChartPart:
    """Candles, marks, overlay and comparison of the selected coin at the selected interval and quote currency."""

    def __init__(self, session: Session, coin: str, interval: str, t: Texts) -> None:
        self._session, self._texts = session, t
        trades = session.app_context.trades
        self._trades = None if trades is None else TradeCandles(session, trades)
        self.coin, self.interval = coin, interval
        self._count = _FIRST_CANDLES
        self._stored: Mapping[str, Sequence[Candle]] = {}
        self._marks: Marks = {}
        self._read_ms = 0
        """When the stored candles were last asked for."""
        self._note = ""
        self._currency = ""
        """The chosen one; empty: that of most ticks."""
        self._sent: tuple[_Key, int, list[Candle]] | None = None
        """What the browser has: the number of candles asked for, and the candles."""
        self._sent_marks: tuple[_Key, Mapping[int, int]] | None = None
        self._overlay = False
        self._overlay_since_ms = 0
        self._other = ""
        self._load()

    def choose(self, coin: str, interval: str) -> None:
        """Show another coin or interval."""
        if (coin, interval) == (self.coin, self.interval):
            return
        if coin != self.coin:
            self._currency = ""
        if coin == self._other:
            self.compare("")
        self.coin, self.interval = coin, interval
        self._count, self._stored, self._marks = _FIRST_CANDLES, {}, {}
        self._load()

    def choose_currency(self, currency: str) -> None:
        self._currency = currency

    def choose_venue(self, name: str) -> None:
        """Show the candles of an instrument, or those of polled prices."""
        if self._trades is not None:
            self._trades.choose(name)

    def older(self) -> None:
        """Load more candles: the browser has scrolled to the first."""
        if self._count < _MOST_CANDLES:
            self._count = min(_MOST_CANDLES, self._count * _EACH_OLDER)
            self._load()

    def compare(self, coin: str) -> None:
        """Show the closes of another coin too; none if empty."""
        self._other = coin
        self._session.out.put_once("chart.other", None)
        self._load_other()

    def overlay(self, shown: bool) -> None:
        """Show consensus and providers."""
        self._overlay = shown
        self._session.out.put_once("chart.overlay", None)
        self._load_overlay()

    def forget(self) -> None:
        self._sent = self._sent_marks = None

    def refresh(self) -> None:
        """Put what changed."""
        self._put_others()
        if self._overlay and self._since_ms != self._overlay_since_ms:
            self._load_overlay()  # a candle is complete
        trades = self._trades
        instrument = None if trades is None else trades.shown(self.coin)
        if trades is not None:
            self._put_venues(trades, instrument)
            if instrument is not None:
                candles = trades.candles(instrument, self.interval, self._count)[-_MOST_CANDLES:]
                self._session.out.put("chart.currencies", {"all": [], "shown": ""})
                self._put(instrument.quote_currency, candles, instrument.name)
                self._put_caption(self._of_trades(len(candles), instrument), self._texts("caption_trades_bars"))
                return
        live = self._session.app_context.live.candles(self.coin, self.interval)
        if any(one.candles and one.candles[0].start_ms > self._read_ms for one in live.values()):
            self._load()  # the process keeps the newest live candles only: those between the last read and them are in the lake
        series = join_currencies(self._stored, live)
        ticks = {currency: sum(candle.ticks for candle in candles) for currency, candles in series.items()}
        currency = self._currency if self._currency in series else choose_currency(ticks)
        candles = series.get(currency, [])[-_MOST_CANDLES:]
        self._session.out.put("chart.currencies", {"all": sorted(series), "shown": currency})
        self._put(currency, candles, "")
        self._put_marks(currency)
        self._say(len(candles), currency, {other: count for other, count in ticks.items() if other != currency})

    def _put_others(self) -> None:
        """The coins to compare with, and the newest price of the compared one."""
        app_context = self._session.app_context
        latest = app_context.live.latest()
        others = [(asset.asset_id, asset.symbol) for asset in app_context.settings.assets if asset.asset_id in latest and asset.asset_id != self.coin]
        self._session.out.put("chart.others", others)
        if record := latest.get(self._other):
            self._session.out.put("chart.other.price", (record.asset_id, record.quote_currency, record.price, record.tick_ts))

    def _put_venues(self, trades: TradeCandles, shown: Instrument | None) -> None:
        """The choice of where candles come from; none for a coin without instruments."""
        choices = [(one.name, f"{one.venue} {one.symbol}") for one in trades.choices(self.coin)]
        every = [(POLLED, self._texts("venue_polled")), *choices] if choices else []
        self._session.out.put("chart.venues", {"all": every, "shown": POLLED if shown is None else shown.name})

    def _of_trades(self, candles: int, instrument: Instrument) -> str:
        t = self._texts
        return f"{candles} × {self.interval} {t('caption_trades')} {instrument.symbol} ({instrument.venue})."

    def _put(self, currency: str, candles: list[Candle], source: str) -> None:
        key = (self.coin, self.interval, currency, source)
        what: dict[str, Any] = {"key": ":".join(key), "coin": self.coin, "more": self._count < _MOST_CANDLES}
        change = None
        if self._sent is not None and self._sent[0] == key:
            change = change_of(self._sent[2], candles)
            if change is not None and (self._count, change.older, change.tail) == (self._sent[1], 0, len(candles)):
                return
        self._sent = (key, self._count, candles)
        if change is None:
            self._sent_marks = None
            what |= {"step": INTERVALS_MS[self.interval], "currency": currency, "traded": bool(source), "columns": candle_columns(candles)}
        else:
            what |= {"tail": candle_rows(candles[change.tail :]), "older": candle_columns(candles[: change.older])}
        self._session.out.put_once("chart", what)

    def _put_marks(self, currency: str) -> None:
        """The marks of stored ticks: they are read apart from the candles, which need not be sent again for them."""
        key, marks = (self.coin, self.interval, currency, ""), self._marks.get(currency, {})
        if marks and self._sent_marks != (key, marks):
            self._sent_marks = (key, marks)
            self._session.out.put_once("chart.marks", {"key": ":".join(key), "marks": list(marks.items())})

    def _say(self, candles: int, currency: str, others: Mapping[str, int]) -> None:
        what = f"{candles} {say('candles of')} {self.interval} {say('from polled prices in')} {currency}."
        self._put_caption(what, f"{other_currencies(others, say('ticks'))} {say(_VOLUME_NOTE)} {self._note}")

    def _put_caption(self, what: str, notes: str) -> None:
        """The browser says between both by which clock its axis is."""
        zone = element("cv-zone", "", data_step=INTERVALS_MS[self.interval])
        self._session.out.put("chart.caption", element("span", f"{text(what)} {zone} {text(notes.strip())}", "cv-note"))

    @property
    def _since_ms(self) -> int:
        step = INTERVALS_MS[self.interval]
        return self._session.now_ms() // step * step - self._count * step

    def _load(self) -> None:
        """Load older candles from the lake; live candles are shown meanwhile."""
        asked = (self.coin, self.interval)
        history = self._session.app_context.history
        since_ms = self._since_ms
        self._read_ms = self._session.now_ms()
        self._session.when_done(history.candles(*asked, since_ms), partial(self._loaded, asked), partial(self._not_loaded, asked))
        self._session.when_done(history.marks(*asked, since_ms), partial(self._marked, asked), lambda _error: None)
        self._load_overlay()
        self._load_other()

    def _loaded(self, asked: tuple[str, str], candles: Mapping[str, Sequence[Candle]]) -> None:
        if asked == (self.coin, self.interval):
            self._stored, self._note = candles, ""

    def _not_loaded(self, asked: tuple[str, str], error: Exception) -> None:
        if asked == (self.coin, self.interval):
            self._note = say("Older candles are not available: {error}", error=error)

    def _marked(self, asked: tuple[str, str], marks: Marks) -> None:
        if asked == (self.coin, self.interval):
            self._marks = marks

    def _load_overlay(self) -> None:
        if not self._overlay:
            return
        asked = (self.coin, self.interval)
        self._overlay_since_ms = self._since_ms
        future = self._session.app_context.history.overlay(*asked, self._overlay_since_ms)
        self._session.when_done(future, partial(self._overlaid, asked), lambda error: self._session.notify("error", str(error)))

    def _overlaid(self, asked: tuple[str, str], overlays: Mapping[str, Overlay]) -> None:
        if asked == (self.coin, self.interval) and self._overlay and self._sent is not None:
            found = overlays.get(self._sent[0][2])
            self._session.out.put_once("chart.overlay", overlay_values(found) if found is not None else None)

    def _load_other(self) -> None:
        if not self._other:
            return
        asked = (self._other, self.interval)
        future = self._session.app_context.history.candles(*asked, self._since_ms)
        self._session.when_done(future, partial(self._compared, asked), lambda error: self._session.notify("error", str(error)))

    def _compared(self, asked: tuple[str, str], stored: Mapping[str, Sequence[Candle]]) -> None:
        if asked != (self._other, self.interval):
            return
        series = join_currencies(stored, self._session.app_context.live.candles(*asked))
        currency = choose_currency({name: sum(candle.ticks for candle in candles) for name, candles in series.items()})
        candles = series.get(currency, [])
        closes = [(candle.start_ms, candle.close) for candle in candles]
        self._session.out.put_once("chart.other", {"coin": self._other, "currency": currency, "closes": closes})
