"""Calls are counted per minute and credits per month, separately for each client."""

from cryptoviz.settings import MarketLimits
from market.limits import LimitBook

LIMITS = MarketLimits(per_minute=30, per_month=10_000)
NOV_30_MS = 1_796_083_140_000  # 2026-11-30T23:59:00Z


def test_minutes_and_months_start_from_zero():
    book = LimitBook()
    for _ in range(3):
        book.call("coingecko", "me", NOV_30_MS)
    book.charge("coingecko", "me", 7, NOV_30_MS)
    assert book.usage("coingecko", "me", LIMITS, NOV_30_MS + 59_999).minute_used == 3
    later = book.usage("coingecko", "me", LIMITS, NOV_30_MS + 60_000)
    assert (later.minute_used, later.month_used) == (0, 0)


def test_a_month_counts_across_minutes():
    book = LimitBook()
    book.charge("coinmarketcap", "me", 7, NOV_30_MS - 600_000)
    assert book.usage("coinmarketcap", "me", LIMITS, NOV_30_MS).month_used == 7


def test_clients_and_providers_are_apart():
    book = LimitBook()
    book.call("coingecko", "me", NOV_30_MS)
    assert book.usage("coingecko", "you", LIMITS, NOV_30_MS).minute_used == 0
    assert book.usage("coinmarketcap", "me", LIMITS, NOV_30_MS).minute_used == 0


def test_memory_is_bounded():
    book = LimitBook()
    for number in range(10_100):
        book.call("coingecko", f"client-{number}", NOV_30_MS)
    assert len(book._counts) == 10_000


def test_seconds_and_weights():
    book, limits = LimitBook(), MarketLimits(per_second=10)
    book.call("binance", "me", NOV_30_MS, weight=40)
    book.call("binance", "me", NOV_30_MS + 999, weight=2)
    used = book.usage("binance", "me", limits, NOV_30_MS + 999)
    assert (used.second_limit, used.second_used, used.minute_used) == (10, 2, 42)
    later = book.usage("binance", "me", limits, NOV_30_MS + 1000)
    assert (later.second_used, later.minute_used) == (0, 42)


def test_bans_double_from_two_minutes_to_three_days():
    book, limits, now, lengths = LimitBook(), MarketLimits(ban_after=2), NOV_30_MS, []
    for _ in range(14):
        for _ in range(2):
            book.refuse("binance", "me", limits, now)
            assert book.usage("binance", "me", limits, now).banned_until_ms <= now
        book.refuse("binance", "me", limits, now)
        until = book.usage("binance", "me", limits, now).banned_until_ms
        book.refuse("binance", "me", limits, now)
        assert book.usage("binance", "me", limits, now).banned_until_ms == until
        lengths.append((until - now) // 60_000)
        now = until + 60_000
    assert lengths[:4] == [2, 4, 8, 16]
    assert lengths[-2:] == [3 * 24 * 60] * 2


def test_forgetting_lifts_bans_and_counts():
    book, limits = LimitBook(), MarketLimits(ban_after=1)
    for provider in ("binance", "kraken"):
        book.call(provider, "me", NOV_30_MS)
        for _ in range(2):
            book.refuse(provider, "me", limits, NOV_30_MS)
    book.forget("binance")
    assert book.usage("binance", "me", limits, NOV_30_MS).banned_until_ms == 0
    assert book.usage("kraken", "me", limits, NOV_30_MS).banned_until_ms > NOV_30_MS
    book.forget()
    assert book.usage("kraken", "me", limits, NOV_30_MS).minute_used == 0
