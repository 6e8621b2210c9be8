"""Bokeh chart of candles and reported volume of the selected coin, updated in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bokeh.layouts import column
from bokeh.models import (
    ColumnDataSource,
    CrosshairTool,
    CustomJSTickFormatter,
    DataRange1d,
    DatetimeTickFormatter,
    HoverTool,
    PanTool,
    Range1d,
    WheelZoomTool,
)
from bokeh.models.annotations.geometry import Span
from bokeh.plotting import figure

from dashboard.views.candles import Candle, changed_tail
from dashboard.views.numbers import format_compact, format_price

__all__ = ["CandleChart"]

UP, DOWN = "#16b37a", "#ea3943"
_SHOWN_CANDLES = 90
_RIGHT_GAP = 4  # empty candles after the last one
_BODY = 0.72
_MAX_CANDLES = 1500
_FIELDS = (
    "time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "ticks",
    "colour",
    "bottom",
    "top",
    "width",
    "open_text",
    "high_text",
    "low_text",
    "close_text",
    "volume_text",
)

_VOLUME_TICKS = "return tick.toLocaleString('en-US', {notation: 'compact', maximumFractionDigits: 1})"
_PRICE_TICKS = "return tick >= 1e9 ? tick.toExponential(3) : tick.toLocaleString('en-US', {maximumSignificantDigits: 7})"


class CandleChart:
    """Two figures on a common time axis. `show` patches or redraws, as the change requires."""

    def __init__(self) -> None:
        self._source = ColumnDataSource({name: [] for name in _FIELDS})
        self._candles: list[Candle] = []
        self._key: tuple[str, int, str] = ("", 0, "")
        self._currency = "USD"
        self._x_range = Range1d(start=0, end=1)
        self._price = self._price_figure()
        self._volume = self._volume_figure()
        self._last = Span(dimension="width", location=0, line_dash="dashed", line_width=1, line_color=UP, line_alpha=0.8)
        self._price.add_layout(self._last)
        self._finish()
        self.view = column(self._price, self._volume, sizing_mode="stretch_width", spacing=0)

    def show(self, asset_id: str, interval_ms: int, candles: Sequence[Candle], currency: str) -> None:
        """Show `candles`, oldest first."""
        wanted = list(candles)[-_MAX_CANDLES:]
        key = (asset_id, interval_ms, currency)
        tail = changed_tail(self._candles, wanted) if key == self._key else None
        self._currency = currency
        if tail is None:
            self._draw(key, wanted)
        elif tail < len(wanted):
            self._update(tail, wanted)
        self._candles = wanted

    def go_to_now(self) -> None:
        """Move the time axis to the last candle, at the usual zoom."""
        if not self._candles:
            return
        step = self._key[1]
        end = self._candles[-1].start_ms + (_RIGHT_GAP + 0.5) * step
        span = min(_SHOWN_CANDLES, max(30, len(self._candles) + _RIGHT_GAP)) * step
        self._x_range.update(start=end - span, end=end)

    def _draw(self, key: tuple[str, int, str], candles: list[Candle]) -> None:
        moved = key != self._key or not self._candles
        self._key = key
        self._source.data = self._columns(candles)
        self._candles = candles
        self._mark_last(candles)
        if moved:
            self.go_to_now()

    def _update(self, tail: int, candles: list[Candle]) -> None:
        known = len(self._candles)
        if tail < known:
            columns = self._columns(candles[tail:known])
            self._source.patch({name: [(slice(tail, known), values)] for name, values in columns.items()})
        if len(candles) > known:
            self._source.stream(self._columns(candles[known:]), rollover=_MAX_CANDLES)
            self._follow(len(candles) - known)
        self._mark_last(candles)

    def _follow(self, added: int) -> None:
        """Scroll along only while the last candle is visible; a panned view stays."""
        step = self._key[1]
        shown: Any = self._x_range  # of numbers, here
        if self._candles and shown.start <= self._candles[-1].start_ms <= shown.end:
            shift = added * step
            shown.update(start=shown.start + shift, end=shown.end + shift)

    def _mark_last(self, candles: list[Candle]) -> None:
        if candles:
            last = candles[-1]
            self._last.update(location=last.close, line_color=UP if last.close >= last.open else DOWN)

    def _columns(self, candles: list[Candle]) -> dict[str, Any]:
        step = self._key[1]
        return {
            "time": [candle.start_ms + step / 2 for candle in candles],
            "open": [candle.open for candle in candles],
            "high": [candle.high for candle in candles],
            "low": [candle.low for candle in candles],
            "close": [candle.close for candle in candles],
            "volume": [candle.volume_24h if candle.volume_24h is not None else float("nan") for candle in candles],
            "ticks": [candle.ticks for candle in candles],
            "colour": [UP if candle.close >= candle.open else DOWN for candle in candles],
            "bottom": [min(candle.open, candle.close) for candle in candles],
            "top": [max(candle.open, candle.close) for candle in candles],
            "width": [step * _BODY for _ in candles],
            "open_text": [format_price(candle.open, self._currency) for candle in candles],
            "high_text": [format_price(candle.high, self._currency) for candle in candles],
            "low_text": [format_price(candle.low, self._currency) for candle in candles],
            "close_text": [format_price(candle.close, self._currency) for candle in candles],
            "volume_text": [format_compact(candle.volume_24h, self._currency) for candle in candles],
        }

    def _figure(self, height: int, y_range: DataRange1d, **borders: Any) -> Any:
        return figure(
            height=height, x_range=self._x_range, y_range=y_range, x_axis_type="datetime", y_axis_location="right", sizing_mode="stretch_width",
            toolbar_location=None, tools="", min_border_left=6, min_border_right=76, output_backend="canvas", **borders,
        )  # fmt: skip

    def _price_figure(self) -> Any:
        # Only visible candles determine the price axis, as in trading charts.
        plot = self._figure(340, DataRange1d(only_visible=True, range_padding=0.08), min_border_top=6, min_border_bottom=0)
        wicks = plot.segment(x0="time", y0="low", x1="time", y1="high", color="colour", line_width=1.2, source=self._source)
        bodies = plot.vbar(
            x="time", width="width", bottom="bottom", top="top", fill_color="colour", line_color="colour", line_width=1.2, source=self._source
        )
        plot.y_range.renderers = [wicks]
        plot.xaxis.visible = False
        plot.yaxis.formatter = CustomJSTickFormatter(code=_PRICE_TICKS)
        plot.add_tools(
            HoverTool(
                renderers=[bodies],
                mode="vline",
                point_policy="follow_mouse",
                tooltips=[
                    ("", "@time{%Y-%m-%d %H:%M} UTC"), ("Open", "@open_text"), ("High", "@high_text"), ("Low", "@low_text"), ("Close", "@close_text"),
                    ("24 h volume", "@volume_text"), ("Ticks", "@ticks"),
                ],
                formatters={"@time": "datetime"},
            )
        )  # fmt: skip
        return plot

    def _volume_figure(self) -> Any:
        plot = self._figure(112, DataRange1d(start=0, only_visible=True, range_padding=0.08), min_border_top=2)
        plot.vbar(x="time", width="width", bottom=0, top="volume", fill_color="colour", fill_alpha=0.45, line_color=None, source=self._source)
        plot.yaxis.formatter = CustomJSTickFormatter(code=_VOLUME_TICKS)
        plot.yaxis.ticker.desired_num_ticks = 2
        plot.xaxis.formatter = DatetimeTickFormatter(
            seconds="%H:%M:%S", minsec="%H:%M:%S", minutes="%H:%M", hourmin="%H:%M", hours="%H:%M", days="%d %b", months="%b %Y"
        )
        return plot

    def _finish(self) -> None:
        """Add shared tools, and grid lines that suit both themes."""
        vertical = Span(dimension="height", line_width=1, line_dash="dotted", line_color="#8d9aad")
        horizontal = Span(dimension="width", line_width=1, line_dash="dotted", line_color="#8d9aad")
        for plot in (self._price, self._volume):
            plot.outline_line_color = None
            plot.grid.grid_line_alpha = 0.35
            plot.axis.axis_line_alpha = plot.axis.major_tick_line_alpha = 0.35
            plot.axis.minor_tick_line_color = None
        crosses: tuple[tuple[Any, Any], ...] = ((self._price, [horizontal, vertical]), (self._volume, vertical))
        for plot, overlay in crosses:
            pan, zoom = PanTool(dimensions="width"), WheelZoomTool(dimensions="width")
            plot.add_tools(pan, zoom, CrosshairTool(overlay=overlay))
            plot.toolbar.active_drag = pan
            plot.toolbar.active_scroll = zoom
