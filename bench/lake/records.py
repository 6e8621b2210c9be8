"""Fast generator of unified records for the lake's benchmarks. Deterministic.

Fills a template, since `UnifiedRecord.to_json` for 3 million records would take longer than the measured work. A test compares both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cryptoviz.assets import DEFAULT_ASSETS, Asset

__all__ = ["START_MS", "Shape", "Walk", "records"]

Shape = Literal["short", "full"]
"""`short`: the required fields only, with a short fetch id, 380 bytes; others are null. `full`: every field, as the collector writes it."""

START_MS = 1_764_028_800_000
"""2025-11-25T00:00:00Z: the first tick of each run."""

_SHORT = (
    b'{"event_id":"%032x","schema_version":1,"kind":"live","tick_ts":%d,"ingest_ts":%d,"asset_id":"%s","symbol":"%s","name":"%s","quote_currency":"USD",'
    b'"price":%s,"provider":"coingecko","provider_asset_id":"%s","role":"primary","attempt":1,"fetch_id":"%.16s","consensus_sources":2,"disagrees":false}\n'
)
_FULL = (
    b'{"event_id":"%032x","schema_version":1,"kind":"live","tick_ts":%d,"source_ts":%d,"ingest_ts":%d,"asset_id":"%s","symbol":"%s","name":"%s",'
    b'"quote_currency":"USD","price":%s,"market_cap":%s,"volume_24h":%s,"high_24h":%s,"low_24h":%s,"change_1h_pct":%s,"change_24h_pct":%s,'
    b'"change_7d_pct":%s,"circulating_supply":%s,"total_supply":%s,"max_supply":null,"rank":%d,"provider":"coingecko","provider_asset_id":"%s",'
    b'"role":"primary","fallback_reason":null,"attempt":1,"fetch_id":"%s","consensus_price":%s,"consensus_sources":2,"spread_bps":%s,"disagrees":false}\n'
)
_MASK = (1 << 128) - 1
_WEYL = 0x9E3779B97F4A7C15F39CC0605CEDC835  # an odd 128-bit step: event ids differ and do not compress, as a hash does not


@dataclass(frozen=True, slots=True)
class Walk:
    """Prices of an asset by tick: a random walk of 5 basis points a step, in the precision of providers."""

    asset: Asset
    prices: list[float]
    volumes: list[float]

    @classmethod
    def of(cls, asset: Asset, ticks: int, seed: int) -> Walk:
        """`ticks` values, determined by the seed."""
        random = np.random.default_rng([seed, DEFAULT_ASSETS.index(asset) if asset in DEFAULT_ASSETS else len(DEFAULT_ASSETS)])
        start = 10.0 ** random.uniform(-2, 4.6)
        logs = np.cumsum(random.normal(0, 5e-4, ticks))
        digits = max(2, 6 - math.ceil(math.log10(start)))
        prices = np.round(start * np.exp(logs), digits)
        volumes = np.round(start * 4e5 * np.exp(np.cumsum(random.normal(0, 1e-3, ticks))))
        return cls(asset, prices.tolist(), volumes.tolist())


def records(
    count: int, shape: Shape = "short", *, tick_ms: int = 2000, seed: int = 7, assets: tuple[Asset, ...] = DEFAULT_ASSETS, start_ms: int = START_MS
) -> Iterator[tuple[bytes, bytes]]:
    """Key and newline-terminated value of `count` records, tick by tick, all assets in each."""
    walks = [Walk.of(asset, -(-count // len(assets)), seed) for asset in assets]
    ids = [(a.asset_id.encode(), a.symbol.encode(), a.name.encode(), a.provider_ids.get("coingecko", a.asset_id).encode()) for a in assets]
    event = (seed * _WEYL) & _MASK
    made = 0
    for tick in range(-(-count // len(assets))):
        tick_ts = start_ms + tick * tick_ms
        fetch_id = b"%032x" % ((tick_ts * _WEYL) & _MASK)
        for rank, (walk, (asset_id, symbol, name, provider_id)) in enumerate(zip(walks, ids, strict=True), 1):
            if made == count:
                return
            made += 1
            event = (event + _WEYL) & _MASK
            price = walk.prices[tick]
            if shape == "short":
                value = _SHORT % (event, tick_ts, tick_ts + 250, asset_id, symbol, name, _number(price), provider_id, fetch_id)
            else:
                value = _full(event, tick_ts, walk, tick, rank, (asset_id, symbol, name, provider_id), fetch_id)
            yield asset_id, value


def _full(event: int, tick_ts: int, walk: Walk, tick: int, rank: int, names: tuple[bytes, bytes, bytes, bytes], fetch_id: bytes) -> bytes:
    asset_id, symbol, name, provider_id = names
    price, first = walk.prices[tick], walk.prices[0]
    hour, day = walk.prices[max(0, tick - 60)], walk.prices[max(0, tick - 1440)]
    supply = float(round(1e12 / first))
    consensus = price * (1 + 1e-5 * ((tick * 7919 + rank) % 13 - 6))
    numbers = [
        price, float(round(price * supply)), walk.volumes[tick], max(price, first) * 1.01, min(price, first) * 0.99,
        round((price / hour - 1) * 100, 5), round((price / day - 1) * 100, 5), round((price / first - 1) * 100, 5), supply, supply * 1.1,
    ]  # fmt: skip
    return _FULL % (
        event, tick_ts, tick_ts - 1500 - tick % 700, tick_ts + 250, asset_id, symbol, name, *map(_number, numbers), rank, provider_id, fetch_id,
        _number(consensus), _number(abs(consensus - price) / price * 1e4),
    )  # fmt: skip


def _number(value: float) -> bytes:
    """JSON text of a double: the shortest text that round-trips."""
    return repr(value).encode()
