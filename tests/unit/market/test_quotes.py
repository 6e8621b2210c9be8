"""The market clock, and the two aggregators' views of the same market."""

from datetime import UTC, datetime

import pytest

from cryptoviz.assets import DEFAULT_ASSETS, Asset
from market.dialects import DIALECTS
from market.quotes import MONTH_MS, Market, MarketClock

NOW_MS = 1_795_557_939_436


def ms(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.fixture(scope="module")
def market():
    return Market(seed=5)


@pytest.mark.parametrize(
    ("wall", "market"),
    [
        ("2024-01-01T00:00:00", "2022-11-01T00:00:00"),
        ("2024-01-30T23:59:59.999", "2022-11-30T23:59:59.999"),
        ("2024-01-31T00:00:00", "2022-11-01T00:00:00"),
        ("2026-11-24T22:05:39.436", "2022-11-09T22:05:39.436"),
        ("2023-12-31T12:00:00", "2022-11-30T12:00:00"),
    ],
)
def test_the_clock_keeps_the_time_of_day_and_wraps(wall, market):
    assert MarketClock().market_ms(ms(wall)) == ms(market)


def test_speed_multiplies_time():
    clock = MarketClock(speed=60)
    assert clock.market_ms(NOW_MS + 1000) - clock.market_ms(NOW_MS) == 60_000


def test_all_coins_are_quoted_in_table_order(market):
    quotes = market.quotes(DIALECTS["coingecko"].price_view, NOW_MS)
    assert [quote.coin.asset for quote in quotes] == list(DEFAULT_ASSETS)
    for quote in quotes:
        assert 0 < quote.low_24h <= quote.price <= quote.high_24h
        assert quote.volume_24h > 0


def test_providers_agree_within_some_basis_points_but_not_exactly(market):
    near, far = DIALECTS["coingecko"].price_view, DIALECTS["coinmarketcap"].price_view
    spreads = [
        abs(market.price(far, coin, NOW_MS + hour * 3_600_000) / market.price(near, coin, NOW_MS + hour * 3_600_000) - 1) * 10_000
        for coin in market.coins
        for hour in range(24)
    ]
    assert max(spreads) <= far.spread_bps
    assert sum(spread > 0.5 for spread in spreads) > len(spreads) * 0.7


@pytest.mark.parametrize(("name", "most"), [("binance", 0), ("kraken", 4), ("coinbase", 3), ("coinpaprika", 8)])
def test_each_provider_has_a_distance_of_its_own(market, name, most):
    near, far = DIALECTS["coingecko"].price_view, DIALECTS[name].price_view
    times = [NOW_MS + hour * 3_600_000 for hour in range(24)]
    spreads = [abs(market.price(far, coin, at) / market.price(near, coin, at) - 1) * 10_000 for coin in market.coins for at in times]
    assert max(spreads) <= most + 1e-9
    assert sum(spreads) / len(spreads) >= most / 4
    if most:
        other = DIALECTS["coinmarketcap"].price_view
        assert all(market.price(far, coin, NOW_MS) != market.price(other, coin, NOW_MS) for coin in market.coins)


def test_coinmarketcap_is_a_second_older(market):
    near, far = (market.quotes(DIALECTS[name].price_view, NOW_MS)[0] for name in ("coingecko", "coinmarketcap"))
    assert near.stamp_ms == 1_795_557_939_000
    assert far.stamp_ms == 1_795_557_938_000


def test_same_seed_same_quotes_in_another_market(market):
    price_view = DIALECTS["coinmarketcap"].price_view
    assert market.quotes(price_view, NOW_MS) == Market(seed=5).quotes(price_view, NOW_MS)
    assert market.quotes(price_view, NOW_MS) != Market(seed=6).quotes(price_view, NOW_MS)


def test_spread_joins_at_the_seam(market):
    price_view, coin = DIALECTS["coinmarketcap"].price_view, market.coins[0]
    assert market.price(price_view, coin, NOW_MS) == pytest.approx(market.price(price_view, coin, NOW_MS + MONTH_MS), rel=1e-12)


def test_sparkline_is_the_hourly_past(market):
    price_view, coin = DIALECTS["coingecko"].price_view, market.coins[1]
    line = market.sparkline(price_view, coin, NOW_MS)
    assert len(line) == 168
    assert line[-1] == market.price(price_view, coin, NOW_MS)
    assert line[0] == market.price(price_view, coin, NOW_MS - 167 * 3_600_000)


def test_a_coin_without_recording_is_simulated():
    doge = Asset("dogecoin", "DOGE", "Dogecoin", {"coingecko": "dogecoin", "coinmarketcap": "74"})
    market = Market(seed=5, extra=[doge, DEFAULT_ASSETS[0]])
    assert len(market.coins) == 18
    quote = market.quotes(DIALECTS["coingecko"].price_view, NOW_MS)[-1]
    assert quote.coin.asset is doge
    assert quote.price > 0


def test_a_simulated_coin_is_listed_where_the_table_has_an_id_for_it():
    coin = Market(seed=5, extra=[Asset("dogecoin", "DOGE", "Dogecoin", {"binance": "DOGEUSDT"})]).coins[-1]
    assert (coin.listing("binance"), coin.listing("kraken")) == ("DOGEUSDT", None)
    assert coin.provider_id("coingecko") == "dogecoin"


def test_matic_history_is_served_as_pol(market):
    from market.recorded import FIVE_MINUTE_FILE, load_candles

    polygon = next(coin for coin in market.coins if coin.asset.asset_id == "polygon")
    start_of_month_wall = ms("2024-01-01T00:00:00")
    assert market.price(DIALECTS["coingecko"].price_view, polygon, start_of_month_wall) == load_candles(FIVE_MINUTE_FILE)["MATIC"].open[0]
