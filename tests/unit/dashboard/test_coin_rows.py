"""Rows of the coin table."""

from __future__ import annotations

from dashboard.views.coin_rows import COLUMNS, PACKED, SEPARATOR, CoinView, by_rank, coin_row, matches, source_badge, sparkline_svg
from tests.unit.dashboard.records import NOW_MS, TICK_MS, a_record


def cells(view: CoinView) -> dict[str, str]:
    """Markup of the packed fields by name."""
    return dict(zip(PACKED, str(coin_row(view, TICK_MS)["cells"]).split(SEPARATOR), strict=True))


def test_every_column_has_its_value() -> None:
    row = coin_row(CoinView(a_record(), [1.0]), TICK_MS)
    assert {column.field for column in COLUMNS} | {"asset_id", "cells"} == set(row)
    assert (row["price"], row["change_24h"], row["change_7d"], row["market_cap"], row["age"]) == (50_000.0, -1.25, None, 1e12, -float(NOW_MS - 1_000))


def test_cells_show_what_the_numbers_say() -> None:
    shown = cells(CoinView(a_record(), []))
    assert "$50,000.00" in shown["price"]
    assert "▲ +0.50%" in shown["change_1h"]
    assert "cv-up" in shown["change_1h"]
    assert "▼ −1.25%" in shown["change_24h"]
    assert "cv-down" in shown["change_24h"]
    assert "—" in shown["change_7d"]
    assert "$1.00T" in shown["market_cap"]
    assert "3.2" in shown["spread"]
    assert shown["age"] == f'<cv-age class="cv-age" data-tick="{NOW_MS - 1_000}" data-live="4000" data-late="10000"></cv-age>'


def test_only_a_changed_price_flashes() -> None:
    assert "cv-flash" not in cells(CoinView(a_record(), []))["price"]
    assert "cv-flash" not in cells(CoinView(a_record(), [], 50_000.0))["price"]
    assert "cv-flash-up" in cells(CoinView(a_record(), [], 49_999.0))["price"]
    assert "cv-flash-down" in cells(CoinView(a_record(), [], 50_001.0))["price"]


def test_a_row_changes_with_its_tick_and_not_with_the_clock() -> None:
    before, after = (coin_row(CoinView(a_record(tick_ts=NOW_MS - age), []), TICK_MS) for age in (4_000, 2_000))
    assert float(str(before["age"])) > float(str(after["age"])), "the older sorts as the greater age"
    assert before == coin_row(CoinView(a_record(tick_ts=NOW_MS - 4_000), []), TICK_MS)


def test_disagreeing_providers_are_warned_of() -> None:
    assert "cv-warn" not in cells(CoinView(a_record(), []))["spread"]
    assert "providers disagree" in cells(CoinView(a_record(disagrees=True), []))["spread"]
    assert "—" in cells(CoinView(a_record(spread_bps=None), []))["spread"]


def test_the_badge_names_provider_and_reason() -> None:
    primary = source_badge(a_record())
    assert (primary.provider, primary.fallback) == ("CoinGecko", None)
    stand_in = source_badge(a_record(provider="coinmarketcap", role="fallback", fallback_reason="rate_limited", consensus_sources=1))
    assert (stand_in.provider, stand_in.fallback) == ("CoinMarketCap", "fallback: rate_limited")
    assert "1 source answered" in stand_in.tooltip
    assert source_badge(a_record(provider="mine")).provider == "mine"


def test_search_finds_by_name_symbol_and_id() -> None:
    coin = a_record(asset_id="avalanche", name="Avalanche", symbol="AVAX")
    assert all(matches(coin, words) for words in ("", "  ", "AVAX", "lanch", " aval"))
    assert not matches(coin, "bitcoin")


def test_unranked_coins_come_last_in_a_stable_order() -> None:
    coins = [a_record(asset_id=asset, rank=rank) for asset, rank in (("z", None), ("b", 2), ("a", None), ("c", 1))]
    assert [one.asset_id for one in by_rank(coins)] == ["c", "b", "a", "z"]


def test_sparklines_need_two_prices_and_survive_a_flat_run() -> None:
    assert "svg" not in sparkline_svg([])
    assert "svg" not in sparkline_svg([1.0])
    assert "cv-up" in sparkline_svg([2.0, 2.0, 2.0])
    assert "cv-down" in sparkline_svg([3.0, 2.0])
    points = sparkline_svg([float(i) for i in range(1000)]).split('points="')[1].split('"')[0].split()
    assert len(points) == 46
    assert (points[0], points[-1]) == ("2.0,22.0", "90.0,2.0")
