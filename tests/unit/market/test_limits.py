"""Calls are counted per minute and credits per month, for each client apart."""

from actors.market.limits import LimitBook
from cryptoviz.settings import MarketLimits

LIMITS = MarketLimits(per_minute=30, per_month=10_000)
NOV_30_MS = 1_796_083_140_000  # 2026-11-30T23:59:00Z


def test_minutes_and_months_start_anew():
    book = LimitBook()
    for _ in range(3):
        book.call("coingecko", "me", NOV_30_MS)
    book.charge("coingecko", "me", 7, NOV_30_MS)
    assert book.usage("coingecko", "me", LIMITS, NOV_30_MS + 59_999).minute_used == 3
    later = book.usage("coingecko", "me", LIMITS, NOV_30_MS + 60_000)
    assert (later.minute_used, later.month_used) == (0, 0)


def test_month_goes_on_over_minutes():
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
