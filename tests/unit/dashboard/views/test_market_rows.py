"""Rows of the coin table and the market at a glance, as values."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from random import Random

import pytest

from dashboard.views.market_rows import FIELDS, by_rank, market_row, spark, spark_line
from dashboard.views.market_summary import Mover, summarize
from dashboard.views.source_badge import source_badge
from tests.unit.dashboard.records import NOW_MS, a_record


def test_every_field_has_its_value() -> None:
    row = dict(zip(FIELDS, market_row(a_record()), strict=True))
    assert (row["price"], row["change_24h"], row["change_7d"], row["market_cap"], row["tick"]) == (50_000.0, -1.25, None, 1e12, NOW_MS - 1_000)
    assert (row["provider"], row["reason"], row["spread"], row["disagrees"]) == ("CoinGecko", None, 3.25, False)


def test_a_fallback_says_why() -> None:
    row = dict(zip(FIELDS, market_row(a_record(provider="coinmarketcap", role="fallback", fallback_reason="rate_limited")), strict=True))
    assert (row["provider"], row["reason"]) == ("CoinMarketCap", "rate_limited")
    assert dict(zip(FIELDS, market_row(a_record(role="fallback", fallback_reason=None)), strict=True))["reason"] == "unknown"


def test_the_badge_names_provider_and_reason() -> None:
    primary = source_badge(a_record())
    assert (primary.provider, primary.fallback) == ("CoinGecko", None)
    stand_in = source_badge(a_record(provider="coinmarketcap", role="fallback", fallback_reason="rate_limited", consensus_sources=1))
    assert (stand_in.provider, stand_in.fallback) == ("CoinMarketCap", "fallback: rate_limited")
    assert "1 source answered" in stand_in.tooltip
    assert source_badge(a_record(provider="mine")).provider == "mine"


def test_unranked_coins_come_last_in_a_stable_order() -> None:
    coins = [a_record(asset_id=asset, rank=rank) for asset, rank in (("z", None), ("b", 2), ("a", None), ("c", 1))]
    assert [one.asset_id for one in by_rank(coins)] == ["c", "b", "a", "z"]


def test_a_week_of_closes_goes_before_recent_ticks_and_says_how_long_it_is() -> None:
    week = spark_line([1.0, 2.0], 2)
    assert spark(week, [9.0, 8.0]) == week == (2, 1.0, 1.0, 2.0, b64encode(bytes([0, 255])).decode())
    assert spark(None, [9.0, 8.0]) == (0, 9.0, 8.0, 9.0, b64encode(bytes([255, 0])).decode())
    assert spark(None, [9.0]) is None


@pytest.mark.parametrize(
    ("points", "heights"),
    [
        ([10.0, 12.0, 11.0, 10.0], [0, 255, 128, 0]),
        ([5.0, 5.0], [0, 0]),
        ([3e-9, 1e-9, 2e-9 - 1e-12], [255, 0, 127]),
    ],
)
def test_a_sparkline_is_a_byte_a_point_between_its_lowest_and_highest(points: list[float], heights: list[int]) -> None:
    hours, first, low, high, sent = spark_line(points, 7)
    assert (hours, first, low, high) == (7, points[0], min(points), max(points))
    assert list(b64decode(sent)) == heights


def test_the_sparklines_of_a_thousand_coins_are_a_third_of_a_megabyte() -> None:
    """Of 169 points each: 228 characters of base64, and at most 80 for the id, three prices of 17 digits and the hours."""
    chance = Random(7)
    coins = {f"coin-{number:04}": [chance.uniform(1, 2) * 10 ** chance.randint(-5, 5) for _ in range(169)] for number in range(1000)}
    sent = json.dumps({asset: spark_line(points, 169) for asset, points in coins.items()}, separators=(",", ":"))
    assert 228_000 < len(sent) < 328_000


def test_movers_and_dominance_are_of_the_latest_records() -> None:
    changes = {"a": 5.0, "b": -3.0, "c": 0.001, "d": None, "e": 7.5, "f": -9.0}
    coins = [a_record(asset_id=name, symbol=name.upper(), change_24h_pct=change, market_cap=1e9) for name, change in changes.items()]
    coins.append(a_record(asset_id="g", symbol="G", change_24h_pct=None, market_cap=6e9))
    coins.append(a_record(asset_id="h", symbol="H", change_24h_pct=None, market_cap=9e9, quote_currency="EUR"))
    summary = summarize(coins)
    assert (summary.rising, summary.falling) == (2, 2)
    assert summary.gainers == (Mover("e", "E", 7.5), Mover("a", "A", 5.0), Mover("c", "C", 0.001))
    assert summary.losers == (Mover("f", "F", -9.0), Mover("b", "B", -3.0))
    assert summary.dominance[0] == ("G", 50.0)
