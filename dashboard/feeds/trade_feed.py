"""Live trades: the end of the topics of trades and of their gaps, committed records only. One thread per process, and nothing while no page looks."""

from __future__ import annotations

import threading
import time

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from cryptoviz.clock import Clock
from cryptoviz.errors import RecordError
from cryptoviz.kafka import consumer as kafka_consumer
from cryptoviz.log import get_logger
from cryptoviz.settings import Settings
from cryptoviz.trades.gap_change import GapChange
from cryptoviz.trades.record import Trade
from dashboard.feeds.kafka_feed import raise_if_lost, reason_of, starts
from dashboard.shared_state import FeedStatus
from dashboard.trade_state import TradeState

__all__ = ["TradeFeed"]

_WINDOWS_S = (600, 180, 70)
"""How far back reading begins: the longest that has at most `_MOST_BACK` offsets."""
_MOST_BACK = 200_000
_CLOCKS_S = 60
"""A venue's clock may be ahead of ours by this much: candles begin as much later than the reading."""
_GAPS_BACK = 20_000
_TIMEOUT_S = 5.0
_PARTITIONS_S = 30.0
_DRAIN = 2000
_WAKE_S = 0.1
"""Pages are woken at most this often."""
_PAUSES_S = (0.5, 1.0, 2.0, 5.0)

log = get_logger("dashboard")


class TradeFeed:
    """Owns the thread. `start` and `stop` may be called from any thread, once each."""

    def __init__(self, settings: Settings, state: TradeState, clock: Clock) -> None:
        self._settings, self._state, self._clock = settings, state, clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trade-feed", daemon=True)
        self.rejected = 0
        """Number of invalid records; the lake stores them as dead letters."""

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        self._stop.set()
        self._state.wanted.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            self._state.wanted.wait()
            try:
                self._follow()
                failures = 0
            except (KafkaException, OSError) as error:
                pause_s = _PAUSES_S[min(failures, len(_PAUSES_S) - 1)]
                failures += 1
                self._state.set_status(FeedStatus(connected=False, message=reason_of(error)))
                log.warning("trade_feed_lost", reason=reason_of(error), retry_in_s=pause_s)
                self._stop.wait(pause_s)

    def _follow(self) -> None:
        """Until stopped, until no page needs it, or until the topic's partitions change."""
        if self._stop.is_set():
            return
        quiet = {"enable.auto.offset.store": False, "auto.offset.reset": "latest", "queued.max.messages.kbytes": 4096, "log_level": 2}
        consumer = kafka_consumer(self._settings.kafka, quiet)
        try:
            since_us, positions = self._begin(consumer)
            self._state.restart(since_us)
            consumer.assign(positions)
            self._state.set_status(FeedStatus(connected=True))
            self._consume(consumer, {one.partition for one in positions if one.topic == self._settings.kafka.trades_topic})
        finally:
            consumer.close()

    def _begin(self, consumer: Consumer) -> tuple[int, list[TopicPartition]]:
        """From where candles hold all trades (UTC epoch us, a whole second), and the first offsets."""
        kafka = self._settings.kafka
        numbers = self._partitions(consumer, kafka.trades_topic)
        now_ms = self._clock.now_ms()
        positions: list[TopicPartition] = []
        for window_s in _WINDOWS_S:
            wanted = [TopicPartition(kafka.trades_topic, number, now_ms - window_s * 1000) for number in numbers]
            found = starts(consumer, wanted, _TIMEOUT_S)
            positions = [TopicPartition(kafka.trades_topic, one.partition, one.at) for one in found]
            if sum(one.high - one.at for one in found) <= _MOST_BACK:
                break
        for number in self._partitions(consumer, kafka.trade_gaps_topic):
            low, high = consumer.get_watermark_offsets(TopicPartition(kafka.trade_gaps_topic, number), timeout=_TIMEOUT_S)
            positions.append(TopicPartition(kafka.trade_gaps_topic, number, max(low, high - _GAPS_BACK)))
        return (now_ms // 1000 - window_s + _CLOCKS_S) * 1_000_000, positions

    def _partitions(self, consumer: Consumer, topic: str) -> list[int]:
        metadata = consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        return sorted(metadata.partitions)

    def _consume(self, consumer: Consumer, partitions: set[int]) -> None:
        look_s = time.monotonic() + _PARTITIONS_S
        woken_s, waiting = 0.0, False
        while not self._stop.is_set():
            now_s = time.monotonic()
            if waiting and now_s - woken_s >= _WAKE_S:
                woken_s, waiting = now_s, False
                self._state.wake()
            if not self._state.watched:
                self._state.wanted.clear()
                return
            if now_s >= look_s:
                if set(self._partitions(consumer, self._settings.kafka.trades_topic)) != partitions:
                    return
                look_s = now_s + _PARTITIONS_S
            first = consumer.poll(max(0.001, _WAKE_S - (now_s - woken_s)) if waiting else _WAKE_S)
            if first is not None:
                # poll waits for one record; the rest of its transaction is already fetched.
                waiting |= self._apply([first, *consumer.consume(_DRAIN, timeout=0)])

    def _apply(self, messages: list[Message]) -> bool:
        """Take records; whether there were any."""
        trades: list[Trade] = []
        gaps: list[GapChange] = []
        for message in messages:
            problem = message.error()
            if problem is not None:
                raise_if_lost(problem)
                continue
            value = message.value()
            try:
                if message.topic() == self._settings.kafka.trades_topic:
                    trades.append(Trade.from_json(value if isinstance(value, bytes) else b""))
                else:
                    gaps.append(GapChange.from_json(value if isinstance(value, bytes) else b""))
            except RecordError as error:
                self.rejected += 1
                log.info("trade_rejected", reason=str(error), rejected=self.rejected)
        if trades or gaps:
            self._state.apply(trades, gaps)
        return bool(trades or gaps)
