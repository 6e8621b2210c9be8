"""Bodies as the providers send them, for any number of coins."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from cryptoviz.assets import Asset
from cryptoviz.times import DAY_MS

__all__ = ["assets", "binance_row", "bodies"]


_FIRST_ID = 1_000_001  # above the ids of the built-in assets


def assets(count: int) -> list[Asset]:
    ids = ({"coingecko": f"coin-{n}", "coinmarketcap": str(n + _FIRST_ID), "binance": f"C{n}USDT"} for n in range(count))
    return [Asset(f"coin-{n}", f"C{n}", f"Coin {n}", provider_ids) for n, provider_ids in enumerate(ids)]


def coingecko_coin(n: int, stamp: str) -> dict[str, Any]:
    price = 1.5 + n / 7
    return {
        "id": f"coin-{n}", "symbol": f"c{n}", "name": f"Coin {n}", "image": f"https://assets.example/coins/images/{n}/large/coin.png?1696501400",
        "current_price": price, "market_cap": price * 1e6, "market_cap_rank": n + 1, "fully_diluted_valuation": price * 2e6,
        "total_volume": price * 1e4, "high_24h": price * 1.01, "low_24h": price * 0.99, "price_change_24h": -0.0123456789,
        "price_change_percentage_24h": -0.98765, "market_cap_change_24h": -12345.6789, "market_cap_change_percentage_24h": -0.98,
        "circulating_supply": 1e6, "total_supply": 2e6, "max_supply": None, "ath": price * 9, "ath_change_percentage": -88.9,
        "ath_date": "2021-11-10T14:24:11.849Z", "atl": price / 99, "atl_change_percentage": 9800.1, "atl_date": "2013-07-06T00:00:00.000Z",
        "roi": None, "last_updated": stamp, "price_change_percentage_1h_in_currency": 0.12345, "price_change_percentage_24h_in_currency": -0.98765,
        "price_change_percentage_7d_in_currency": 3.21,
    }  # fmt: skip


def coinmarketcap_coin(n: int, stamp: str) -> dict[str, Any]:
    price = 1.5 + n / 7
    quote = {
        "id": 2781, "symbol": "USD", "price": price, "volume_24h": price * 1e4, "volume_change_24h": 1.2345, "percent_change_1h": 0.12345,
        "percent_change_24h": -0.98765, "percent_change_7d": 3.21, "percent_change_30d": 4.5, "percent_change_60d": 5.6, "percent_change_90d": 6.7,
        "market_cap": price * 1e6, "market_cap_dominance": 0.01, "fully_diluted_market_cap": price * 2e6, "last_updated": stamp,
    }  # fmt: skip
    return {
        "id": n + _FIRST_ID, "name": f"Coin {n}", "symbol": f"C{n}", "slug": f"coin-{n}", "cmc_rank": n + 1, "num_market_pairs": 100,
        "circulating_supply": 1e6, "total_supply": 2e6, "max_supply": None, "infinite_supply": False, "date_added": "2013-04-28T00:00:00.000Z",
        "last_updated": stamp, "tags": ["mineable", "pow", "store-of-value"], "platform": None, "quote": [quote],
    }  # fmt: skip


def binance_row(n: int, now_ms: int) -> dict[str, Any]:
    price = f"{1.5 + n / 7:.8f}"
    return {
        "symbol": f"C{n}USDT", "priceChange": "-0.01234500", "priceChangePercent": "-0.988", "weightedAvgPrice": price, "prevClosePrice": price,
        "lastPrice": price, "lastQty": "0.00200000", "bidPrice": price, "bidQty": "1.20000000", "askPrice": price, "askQty": "0.90000000",
        "openPrice": price, "highPrice": price, "lowPrice": price, "volume": "12345.67890000", "quoteVolume": "771733056.12345678",
        "openTime": now_ms - DAY_MS, "closeTime": now_ms, "firstId": 28385, "lastId": 28460, "count": 76,
    }  # fmt: skip


def pages(items: list[dict[str, Any]], size: int, wrap: Callable[[Any], Any]) -> list[bytes]:
    return [orjson.dumps(wrap(items[start : start + size])) for start in range(0, len(items), size)]


def bodies(count: int) -> dict[str, list[bytes]]:
    """By provider, the bodies of one tick."""
    stamps = [datetime.now(UTC).strftime(f"%Y-%m-%dT%H:%M:%S.{n:03d}Z") for n in range(1000)]
    status = {"timestamp": stamps[0], "error_code": 0, "error_message": None, "elapsed": 10, "credit_count": 1, "notice": None}
    return {
        "coingecko": pages([coingecko_coin(n, stamps[n % 1000]) for n in range(count)], 250, lambda coins: coins),
        "coinmarketcap": pages([coinmarketcap_coin(n, stamps[n % 1000]) for n in range(count)], 100, lambda coins: {"status": status, "data": coins}),
    }
