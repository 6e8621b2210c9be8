"""Take the pictures of docs/images: `python -m bench.dashboard.pictures`. Coins and prices are invented, with a fixed seed."""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from playwright.sync_api import sync_playwright

from cryptoviz.assets import asset_table
from cryptoviz.lake.ohlcv import INTERVALS_MS
from cryptoviz.records import UnifiedRecord
from dashboard.feeds.history_cache import Closes, History, Marks
from dashboard.shared_state import FeedStatus
from dashboard.views.candles import Candle
from dashboard.views.overlay import Overlay
from tests.support.browser import launch_chromium
from tests.support.clock import now_ms
from tests.support.dashboard_server import NoHistory, new_app_context, serving
from tests.support.page_stack import BASE_PRICES, TICK_MS, record

_FOLDER = Path(__file__).parents[2] / "docs" / "images"
_CHANCE = random.Random(7)
_TICKS = 90
_PICTURES: tuple[tuple[str, str, int, int, Literal["light", "dark"]], ...] = (
    ("dashboard", "?coin=bitcoin&tf=1m", 1440, 900, "light"),
    ("market-dark", "?coin=ethereum&tf=5m", 1440, 900, "dark"),
    ("coin-dark", "?coin=bitcoin&tf=1m&view=coin", 1440, 900, "dark"),
    ("market-phone", "?coin=bitcoin&tf=1m", 390, 844, "light"),
    ("coin-phone", "?coin=bitcoin&tf=1m&view=coin", 390, 844, "dark"),
)


class Walks(NoHistory):
    """A lake of random walks that end at the base prices, with a gap and some fallbacks."""

    def candles(self, asset_id: str, interval: str, since_ms: int) -> Mapping[str, Sequence[Candle]]:
        step, price, found = INTERVALS_MS[interval], BASE_PRICES[asset_id], []
        for start in range(now_ms() // step * step, max(since_ms, now_ms() - 500 * step), -step):
            opened = price * (1 + _CHANCE.gauss(0, 0.0011))
            high, low = max(price, opened) * (1 + abs(_CHANCE.gauss(0, 0.0006))), min(price, opened) * (1 - abs(_CHANCE.gauss(0, 0.0006)))
            found.append(Candle(start, opened, high, low, price, 4e10 * (1 + _CHANCE.gauss(0, 0.02)), 30))
            price = opened
        kept = [candle for number, candle in enumerate(found) if not 40 <= number < 46]
        return {"USD": kept[::-1]}

    def marks(self, asset_id: str, interval: str, since_ms: int) -> Marks:  # noqa: ARG002
        step = INTERVALS_MS[interval]
        last = now_ms() // step * step
        return {"USD": {last - back * step: mark for back, mark in ((12, 1), (13, 1), (14, 1), (22, 2))}}

    def overlay(self, asset_id: str, interval: str, since_ms: int) -> Mapping[str, Overlay]:
        return {"USD": Overlay([(candle.start_ms, candle.close, 8.0) for candle in self.candles(asset_id, interval, since_ms)["USD"]])}

    def closes(self, since_ms: int) -> Closes:  # noqa: ARG002
        return {asset: {"USD": _walk(price, 168, 0.006)} for asset, price in BASE_PRICES.items()}


def _walk(last: float, count: int, step: float) -> list[float]:
    prices = [last]
    for _ in range(count - 1):
        prices.append(prices[-1] * (1 + _CHANCE.gauss(0, step)))
    return prices[::-1]


def _records(tick_ts: int, changes: Mapping[str, tuple[float, float, float]]) -> list[UnifiedRecord]:
    assets = {asset.asset_id: asset for asset in asset_table()}
    records = []
    for rank, (asset_id, base) in enumerate(BASE_PRICES.items(), 1):
        hour, day, week = changes[asset_id]
        price = base * (1 + _CHANCE.gauss(0, 0.0004))
        cap = 1.9e12 / rank**1.9
        one = record(asset_id, tick_ts, price, change_1h_pct=hour, change_24h_pct=day, change_7d_pct=week, market_cap=cap, volume_24h=cap / 31)
        one = replace(one, symbol=assets[asset_id].symbol, name=assets[asset_id].name, circulating_supply=cap / price)
        if asset_id == "polygon":
            one = replace(one, provider="coinmarketcap", role="fallback", fallback_reason="missing_asset")
        records.append(one)
    return records


def main() -> int:
    """Write the pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else _FOLDER
    with tempfile.TemporaryDirectory() as home, new_app_context(Path(home)) as made, sync_playwright() as playwright:
        app_context = replace(made, history=History(Walks()))
        app_context.live.set_status(FeedStatus(connected=True))
        changes = {asset: (_CHANCE.gauss(0, 0.5), _CHANCE.gauss(0.3, 2.5), _CHANCE.gauss(0.5, 6)) for asset in BASE_PRICES}
        first = now_ms() // TICK_MS * TICK_MS - _TICKS * TICK_MS
        for number in range(_TICKS):
            app_context.live.apply(_records(first + number * TICK_MS, changes))
        browser = launch_chromium(playwright)
        with serving(app_context) as url:
            for name, query, width, height, scheme in _PICTURES:
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                page.goto(url + query)
                page.wait_for_function("window.cv.drawnChart && window.cv.drawnChart().candles.length > 100", timeout=60_000)
                if name == "coin-dark":
                    for button in ("Averages", "Consensus"):
                        page.get_by_role("button", name=button, exact=True).click()
                app_context.live.apply(_records(now_ms() // TICK_MS * TICK_MS, changes))
                page.wait_for_timeout(1_200)
                page.screenshot(path=folder / f"{name}.png")
                page.close()
            page = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme="light")
            page.goto(url)
            page.get_by_role("button", name="Heat map", exact=True).click()
            page.wait_for_timeout(1_200)
            page.screenshot(path=folder / "heat-map.png")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
