"""Candles from the trades of one venue, for the chart: the lake's trades up to where the feed began, and the feed's from then on."""

from __future__ import annotations

from functools import partial

from cryptoviz.lake.ohlcv import INTERVALS_MS
from dashboard.feeds.history_cache import TradePast
from dashboard.page_session import Session
from dashboard.trade_state import TradeState
from dashboard.views.candles import Candle
from dashboard.views.trade_bars import join_bars, marked_candles
from dashboard.views.trade_rows import Instrument, parse_instrument

__all__ = ["POLLED", "TradeCandles"]

POLLED = "polled"
_AGAIN_MS = 5_000
"""After a gap has changed, the lake is read again: refilled trades may be older than the feed's begin."""
_NONE = TradePast((), ())

_Asked = tuple[Instrument, str, int, int, int]


class TradeCandles:
    """Of a page. `state`: of the process."""

    def __init__(self, session: Session, state: TradeState) -> None:
        self._session, self._state = session, state
        self._choice = ""
        """Name of an instrument, `POLLED`, or empty: the first one of the coin that has trades."""
        self._asked: _Asked | None = None
        self._past = _NONE
        self._next_ms = 0
        self._before: Instrument | None = None

    def choose(self, choice: str) -> None:
        """Untrusted."""
        self._choice = choice

    def choices(self, coin: str) -> list[Instrument]:
        """The instruments of a coin."""
        return [one for one in self._state.configured if one.asset_id == coin]

    def shown(self, coin: str) -> Instrument | None:
        """The instrument whose candles are shown; None: those from polled prices."""
        choices = self.choices(coin)
        if self._choice == POLLED or not choices:
            return None
        self._state.wait(self._session.wake)
        found = parse_instrument(self._choice, choices) or next((one for one in choices if self._state.has_trades(one)), None)
        if found is not None:
            self._before = found  # kept while the feed begins again
        return found or (self._before if self._before in choices else None)

    def candles(self, instrument: Instrument, interval: str, count: int) -> list[Candle]:
        """At most about `count` candles, oldest first."""
        until_us, live = self._state.bars(instrument, interval)
        version, gaps = self._state.gaps(instrument)
        self._load((instrument, interval, count, until_us, version))
        newest = {gap.gap_id: gap for gap in self._past.gaps} | {gap.gap_id: gap for gap in gaps}
        return marked_candles(join_bars(self._past.bars, live), newest.values(), INTERVALS_MS[interval])

    def _load(self, asked: _Asked) -> None:
        now_ms = self._session.now_ms()
        instrument, interval, count, until_us, _ = asked
        if asked == self._asked or not until_us:
            return
        if self._asked is not None and asked[:-1] == self._asked[:-1] and now_ms < self._next_ms:
            return
        if self._asked is None or asked[:3] != self._asked[:3]:
            self._past = _NONE
        self._asked, self._next_ms = asked, now_ms + _AGAIN_MS
        step = INTERVALS_MS[interval]
        future = self._session.app_context.history.trades(instrument, interval, now_ms // step * step - count * step, until_us)
        self._session.when_done(future, partial(self._loaded, asked), lambda error: self._session.notify("error", str(error)))

    def _loaded(self, asked: _Asked, past: TradePast) -> None:
        if asked == self._asked:
            self._past = past
