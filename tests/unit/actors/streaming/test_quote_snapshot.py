"""The last quotes in Redis: one key an instrument, with an end, and bounded while Redis is away."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import orjson
import pytest
from redis.exceptions import ConnectionError as RedisGone

from actors.streaming import quote_snapshot
from actors.streaming.quote_snapshot import QuoteSnapshot
from cryptoviz.settings import RedisSettings
from cryptoviz.trades.quote import QUOTE_KEEP_S, QuoteRecord
from tests.support.clock import FakeClock
from tests.support.waiting import eventually_async


def quote(symbol: str, bid: str) -> QuoteRecord:
    return QuoteRecord(
        quote_id="a-1", venue="binance", venue_symbol=symbol, asset_id="bitcoin", quote_currency="USDT", bid=bid, bid_size="1", ask="9", ask_size="1",
        venue_ts=None, ingest_ts=1,
    )  # fmt: skip


class FakeRedis:
    """Executes pipelines of `set`; `away`: so many of them fail."""

    def __init__(self, away: int = 0) -> None:
        self.stored: dict[str, tuple[str, int]] = {}
        self.writes = 0
        self.away = away
        self._commands: list[tuple[str, bytes, int]] = []

    def pipeline(self, transaction: bool) -> FakeRedis:
        self._commands = []
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def set(self, key: str, value: bytes, ex: int) -> None:
        self._commands.append((key, value, ex))

    async def execute(self) -> None:
        if self.away:
            self.away -= 1
            raise RedisGone("no")
        self.writes += len(self._commands)
        self.stored |= {key: (orjson.loads(value)["bid"], ex) for key, value, ex in self._commands}

    async def aclose(self) -> None: ...


async def written(monkeypatch: pytest.MonkeyPatch, fake: FakeRedis, namespace: str, *quotes: QuoteRecord) -> QuoteSnapshot:
    def open_client(*_: Any) -> FakeRedis:
        return fake

    monkeypatch.setattr(quote_snapshot, "open_client", open_client)
    snapshot = QuoteSnapshot(RedisSettings(), namespace, FakeClock())
    snapshot.put(quotes)
    task = asyncio.create_task(snapshot.run())

    async def done() -> bool:
        return bool(fake.stored)

    await eventually_async(done, every_s=0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return snapshot


async def test_each_instrument_has_a_key_that_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRedis()
    await written(monkeypatch, fake, "other", quote("BTCUSDT", "1"), quote("ETHUSDT", "2"), quote("BTCUSDT", "3"))
    assert fake.stored == {
        "cryptoviz:quote:other:binance:BTCUSDT": ("3", QUOTE_KEEP_S),
        "cryptoviz:quote:other:binance:ETHUSDT": ("2", QUOTE_KEEP_S),
    }
    assert fake.writes == 2


async def test_what_failed_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRedis(away=2)
    snapshot = await written(monkeypatch, fake, "cryptoviz", quote("BTCUSDT", "1"))
    assert fake.stored == {"cryptoviz:quote:cryptoviz:binance:BTCUSDT": ("1", QUOTE_KEEP_S)}
    assert snapshot.failures_total == 2
