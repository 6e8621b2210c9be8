"""Our parsers beside pydantic models of the same fields, and ccxt."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson
from pydantic import BaseModel, TypeAdapter

from bench.collect.bodies import assets, binance_row, bodies
from bench.collect.parsing import parse
from bench.collect.tick import ASSETS
from cryptoviz.assets import Asset
from cryptoviz.clock import SystemClock
from cryptoviz.providers.binance import parse_tickers
from cryptoviz.providers.coingecko import parse_markets
from cryptoviz.providers.response import HttpResponse

__all__ = ["parsers"]


class GeckoCoin(BaseModel):
    """The fields of `/coins/markets` that a record is made of."""

    id: str
    current_price: float | None
    last_updated: datetime | None
    market_cap: float | None
    total_volume: float | None
    high_24h: float | None
    low_24h: float | None
    price_change_percentage_1h_in_currency: float | None
    price_change_percentage_24h_in_currency: float | None
    price_change_percentage_7d_in_currency: float | None
    circulating_supply: float | None
    total_supply: float | None
    max_supply: float | None
    market_cap_rank: int | None


class BinanceTicker(BaseModel):
    """The fields of `/ticker/24hr` that a record is made of."""

    symbol: str
    lastPrice: float
    priceChangePercent: float
    highPrice: float
    lowPrice: float
    quoteVolume: float
    closeTime: int
    firstId: int
    count: int


def parsers(rounds: int) -> dict[str, dict[str, float | None]]:
    """Median milliseconds of CPU for 10 000 coins, from bytes to objects: others on the machine do not count."""
    listed = assets(ASSETS)
    now_ms = SystemClock().now_ms()
    gecko, binance = bodies(ASSETS)["coingecko"], orjson.dumps([binance_row(n, now_ms) for n in range(ASSETS)])
    gecko_ids = {asset.provider_ids["coingecko"]: asset.asset_id for asset in listed}
    binance_ids = {asset.provider_ids["binance"]: asset.asset_id for asset in listed}
    gecko_model, binance_model = TypeAdapter(list[GeckoCoin]), TypeAdapter(list[BinanceTicker])
    ccxt = ccxt_parser(listed)
    return {
        "coingecko": {
            "ours": median_ms(lambda: parse("coingecko", parse_markets, gecko, gecko_ids, now_ms, now_ms), rounds),
            "pydantic": median_ms(lambda: [gecko_model.validate_json(body) for body in gecko], rounds),
            "ccxt": None,
        },
        "binance": {
            "ours": median_ms(lambda: parse_tickers(HttpResponse(200, {}, binance, now_ms), binance_ids), rounds),
            "pydantic": median_ms(lambda: binance_model.validate_json(binance), rounds),
            "ccxt": None if ccxt is None else median_ms(lambda: ccxt(binance), max(1, rounds // 2)),
        },
    }


def ccxt_parser(listed: list[Asset]) -> Callable[[bytes], Any] | None:
    """The way of ccxt from a body to its tickers, with the markets known as it knows them after `load_markets`. None when it is not installed."""
    try:
        exchange = importlib.import_module("ccxt").binance()
    except ImportError:
        return None
    exchange.set_markets(
        [
            {
                "id": asset.provider_ids["binance"], "symbol": f"{asset.symbol}/USDT", "base": asset.symbol, "quote": "USDT", "type": "spot",
                "baseId": asset.symbol, "quoteId": "USDT", "spot": True, "active": True, "contract": False, "precision": {}, "limits": {},
            }
            for asset in listed
        ]
    )  # fmt: skip
    return lambda body: exchange.parse_tickers(exchange.parse_json(body.decode()))


def median_ms(call: Callable[[], Any], rounds: int) -> float:
    took = []
    for _ in range(rounds):
        begun = time.process_time()
        call()
        took.append((time.process_time() - begun) * 1000)
    return statistics.median(took)
