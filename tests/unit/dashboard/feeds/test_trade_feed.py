"""The feed of trades on a consumer that holds records in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition

import dashboard.feeds.trade_feed as module
from cryptoviz.settings import Settings
from dashboard.feeds.trade_feed import TradeFeed
from dashboard.trade_state import TradeState, instruments_of
from dashboard.views.trade_rows import Instrument
from tests.support.page_stack import browser_settings
from tests.support.trades import AT_US, change, trade_values
from tests.support.waiting import eventually

BTC = Instrument("binance", "BTCUSDT", "bitcoin", "USDT")
NOW_MS = AT_US // 1000 + 600_000


@dataclass
class Record:
    of: str
    content: bytes

    def error(self) -> None:
        return None

    def topic(self) -> str:
        return self.of

    def value(self) -> bytes:
        return self.content


@dataclass
class Broker:
    """Topics with one partition, as far as the feed asks."""

    backs: dict[int, int]
    """By window in seconds, the offsets from there to the end."""
    records: list[Record] = field(default_factory=list)
    assigned: list[TopicPartition] = field(default_factory=list)
    closed: int = 0

    def list_topics(self, topic: str, timeout: float) -> Any:
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions={0: None})})

    def offsets_for_times(self, wanted: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(one.topic, one.partition, 1_000_000 - self.backs[(NOW_MS - one.offset) // 1000]) for one in wanted]

    def get_watermark_offsets(self, one: TopicPartition, timeout: float) -> tuple[int, int]:
        return 0, 1_000_000

    def assign(self, positions: list[TopicPartition]) -> None:
        self.assigned = positions

    def poll(self, timeout: float) -> Record | None:
        return self.records.pop(0) if self.records else None

    def consume(self, count: int, timeout: float) -> list[Record]:
        found, self.records = self.records[:count], self.records[count:]
        return found

    def close(self) -> None:
        self.closed += 1


class Page:
    def __init__(self) -> None:
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return browser_settings(tmp_path, streams={"venues": ("binance",), "instruments": ("BTC",)})


def begun(monkeypatch: pytest.MonkeyPatch, settings: Settings, broker: Broker) -> tuple[TradeState, TradeFeed]:
    monkeypatch.setattr(module, "kafka_consumer", lambda _kafka, _config: broker)
    state = TradeState(instruments_of(settings), lambda: 0.0)
    return state, TradeFeed(settings, state, SimpleNamespace(now_ms=lambda: NOW_MS))


def test_nothing_is_read_until_a_page_looks_and_it_is_woken_with_what_the_topics_have(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    kafka = settings.kafka
    records = [Record(kafka.trades_topic, value) for _, value in trade_values(range(1, 301))]
    records[5:5] = [Record(kafka.trades_topic, b"{}"), Record(kafka.trade_gaps_topic, change("g", "open", 1))]
    broker = Broker({600: 300}, records)
    state, feed = begun(monkeypatch, settings, broker)
    feed.start()
    assert broker.assigned == []
    page = Page()
    state.wait(page.wake)
    eventually(lambda: page.woken > 0)
    eventually(lambda: [one.trade_number for _, one in state.tape(BTC, -1, 2)] == [300, 299])
    feed.stop()
    assert [gap.gap_id for gap in state.gaps(BTC)[1]] == ["g"]
    assert feed.rejected == 1
    assert broker.closed == 1
    assert sorted((one.topic, one.offset) for one in broker.assigned) == [(kafka.trade_gaps_topic, 980_000), (kafka.trades_topic, 999_700)]


def test_a_fast_topic_is_read_from_less_far_back_and_candles_begin_a_minute_later(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    broker = Broker({600: 900_000, 180: 300_000, 70: 120_000})
    state, feed = begun(monkeypatch, settings, broker)
    page = Page()
    state.wait(page.wake)
    feed.start()
    eventually(lambda: bool(broker.assigned))
    feed.stop()
    assert state.bars(BTC, "1m")[0] == (NOW_MS // 1000 - 10) * 1_000_000
    assert (settings.kafka.trades_topic, 880_000) in [(one.topic, one.offset) for one in broker.assigned]
