"""The logic of the feeds, without their services."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from cryptoviz.client import PipelineStatus
from cryptoviz.components import ComponentState, ComponentStatus
from cryptoviz.errors import EngineUnavailable
from dashboard.feeds.control_feed import ControlFeed
from dashboard.feeds.history_cache import Closes, History, Marks
from dashboard.feeds.kafka_feed import decode, starts
from dashboard.shared_state import ControlState, Wakeups
from dashboard.views.candles import Candle
from dashboard.views.overlay import Overlay
from dashboard.views.statistics import PriceHistory
from tests.support.waiting import eventually
from tests.unit.dashboard.records import a_component, a_record


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        a_record(price=0.0).to_json(),
        a_record(price=-1.0).to_json(),
        a_record(price="1").to_json(),
        a_record(tick_ts="x").to_json(),
        a_record(name=None).to_json(),
        a_record(quote_currency=[]).to_json(),
        a_record(market_cap="1e12").to_json(),
        a_record(change_24h_pct={}).to_json(),
        a_record(price=float("inf")).to_json(),
    ],
)
def test_what_is_no_record_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(value)


def test_a_record_that_comes_while_the_start_is_looked_up_is_not_before_it() -> None:
    """An empty partition gets its first record between the two requests, whichever is the first."""

    class Broker:
        requests = 0

        def offsets_for_times(self, times: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
            self.requests += 1
            return [TopicPartition(one.topic, one.partition, -1 if self.requests == 1 else 0) for one in times]

        def get_watermark_offsets(self, one: TopicPartition, timeout: float) -> tuple[int, int]:
            self.requests += 1
            return 0, self.requests - 1

    broker: Any = Broker()
    assert starts(broker, [TopicPartition("prices", 0, 1_700_000_000_000)], 1.0) == [(0, 0, 0, 0)]


def test_a_record_reads_back() -> None:
    assert decode(a_record().to_json()) == a_record()


class FakeControl:
    """Yields the given statuses, then waits until it is closed, or fails."""

    def __init__(self, statuses: Sequence[PipelineStatus], error: Exception | None = None) -> None:
        self._statuses, self._error = statuses, error
        self.closed = threading.Event()

    def watch(self) -> Iterator[PipelineStatus]:
        yield from self._statuses
        if self._error is not None:
            raise self._error
        self.closed.wait(60)
        raise ValueError("Cannot invoke RPC on closed channel!")

    def start(self, name: str) -> ComponentStatus:
        return a_component(name=name)

    stop = restart = start

    def start_pipeline(self) -> PipelineStatus:
        return self._statuses[0]

    stop_pipeline = start_pipeline

    def close(self) -> None:
        self.closed.set()


RUNNING = PipelineStatus(ComponentState.RUNNING, "all components run", (), replayed=True, version=1)
STOPPED = PipelineStatus(ComponentState.STOPPED, "no component is enabled", (), version=2)


def test_the_control_feed_reconnects_after_a_loss_and_says_so_meanwhile() -> None:
    clients = [FakeControl([RUNNING], EngineUnavailable("gone", engine="control")), FakeControl([STOPPED])]
    state = ControlState(Wakeups())
    seen: list[tuple[PipelineStatus | None, str | None]] = []

    def connect() -> FakeControl:
        seen.append(state.read())
        return clients.pop(0)

    feed = ControlFeed(connect, state)
    feed.start()
    try:
        eventually(lambda: state.read() == (STOPPED, None))
    finally:
        feed.stop()
    assert seen == [(None, "connecting"), (RUNNING, "gone")]


def test_the_control_feed_ends_when_it_is_stopped() -> None:
    client = FakeControl([RUNNING])
    feed = ControlFeed(lambda: client, ControlState(Wakeups()))
    feed.start()
    feed.stop()
    assert client.closed.is_set()
    assert not any(thread.name == "control-feed" for thread in threading.enumerate())


class CountingSource:
    """History that counts reads, and optionally fails at first."""

    def __init__(self, failures: int = 0) -> None:
        self.reads = 0
        self.failures = failures

    def candles(self, asset_id: str, interval: str, since_ms: int) -> Mapping[str, Sequence[Candle]]:
        self.reads += 1
        if self.reads <= self.failures:
            raise EngineUnavailable("no lake", engine="object-store")
        return {"USD": [Candle(since_ms, 1.0, 1.0, 1.0, 1.0, None, 1)]}

    def marks(self, asset_id: str, interval: str, since_ms: int) -> Marks:
        return {}

    def overlay(self, asset_id: str, interval: str, since_ms: int) -> Mapping[str, Overlay]:
        return {}

    def closes(self, since_ms: int) -> Closes:
        self.reads += 1
        return {"bitcoin": {"USD": [1.0, 3.0, 2.0], "EUR": [1.0]}}

    def prices(self, asset_id: str, since_ms: int, limit: int) -> PriceHistory:
        self.reads += 1
        return PriceHistory((), ())

    def parquet(self, asset_id: str, since_ms: int) -> bytes:
        return b"parquet"

    def csv(self, asset_id: str, since_ms: int) -> bytes:
        return b"csv"


def test_browsers_that_ask_together_share_one_read() -> None:
    source = CountingSource()
    history = History(source)
    answers = [history.prices("bitcoin", 0, 10) for _ in range(20)]
    assert [answer.result(60) for answer in answers] == [PriceHistory((), ())] * 20
    assert source.reads == 1
    history.prices("ethereum", 0, 10).result(60)
    assert source.reads == 2
    history.close()


def test_the_sparklines_of_all_pages_are_drawn_once() -> None:
    source = CountingSource()
    history = History(source)
    first, second = (history.lines(0).result(60) for _ in range(2))
    assert first == {"bitcoin": {"USD": (3, 1.0, 1.0, 3.0, "AP+A")}}  # bytes 0, 255, 128
    assert second is first
    assert source.reads == 1
    history.close()


def test_a_failed_read_is_tried_again_at_once() -> None:
    source = CountingSource(failures=1)
    history = History(source)
    with pytest.raises(EngineUnavailable):
        history.candles("bitcoin", "1m", 0).result(60)
    assert len(history.candles("bitcoin", "1m", 0).result(60)) == 1
    history.close()


def test_downloads_come_in_both_kinds() -> None:
    history = History(CountingSource())
    assert (history.download("bitcoin", 0, "csv"), history.download("bitcoin", 0, "parquet")) == (b"csv", b"parquet")
    history.close()
