"""The feed of quotes on a Redis in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError as RedisGone

import dashboard.feeds.quote_feed as module
from cryptoviz.redis_keys import quote_key
from cryptoviz.settings import Settings
from cryptoviz.trades.quote import QuoteRecord
from dashboard.feeds.quote_feed import QuoteFeed
from dashboard.trade_state import TradeState, instruments_of
from tests.support.page_stack import browser_settings
from tests.support.waiting import eventually

QUOTE = QuoteRecord(
    quote_id="a-1", venue="binance", venue_symbol="BTCUSDT", asset_id="bitcoin", quote_currency="USDT", bid="1.5", bid_size="1", ask="1.6",
    ask_size="1", venue_ts=None, ingest_ts=1,
)  # fmt: skip


class FakeRedis:
    """Answers `mget`; `away`: does not."""

    def __init__(self, stored: dict[str, bytes]) -> None:
        self.stored, self.away, self.reads, self.closed = stored, False, 0, False

    def mget(self, keys: list[str]) -> list[bytes | None]:
        self.reads += 1
        if self.away:
            raise RedisGone("no")
        return [self.stored.get(key) for key in keys]

    def close(self) -> None:
        self.closed = True


class Page:
    def wake(self) -> None:
        """Looks."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return browser_settings(tmp_path, streams={"venues": ("binance",), "instruments": ("BTC", "ETH"), "quote_s": 1})


def test_quotes_are_read_while_a_page_looks_and_forgotten_without_redis(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    namespace = settings.ray.namespace
    fake = FakeRedis({quote_key(namespace, "binance", "BTCUSDT"): QUOTE.to_json(), quote_key(namespace, "binance", "ETHUSDT"): b'{"bid":"0"}'})

    def from_url(**_: Any) -> FakeRedis:
        return fake

    monkeypatch.setattr(redis.Redis, "from_url", from_url)
    monkeypatch.setattr(module, "_LEAST_S", 0.001)
    monkeypatch.setattr(module, "_RETRY_S", 0.001)
    state = TradeState(instruments_of(settings), lambda: 0.0)
    feed = QuoteFeed(settings.model_copy(update={"streams": settings.streams.model_copy(update={"quote_s": 0.001})}), state)
    feed.start()
    assert fake.reads == 0
    page = Page()
    state.wait(page.wake)
    eventually(lambda: [row.quote for row in state.instruments(0)] == [QUOTE, None])
    assert feed.rejected >= 1
    fake.away = True
    eventually(lambda: state.instruments(0)[0].quote is None)
    fake.away = False
    eventually(lambda: state.instruments(0)[0].quote == QUOTE)
    feed.stop()
    assert fake.closed
