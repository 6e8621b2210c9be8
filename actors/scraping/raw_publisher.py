"""Opens what a scraper records its raw exchanges with: a publisher with a transactional id of the scraper's own."""

from __future__ import annotations

from actors.publishing.exchange_recorder import ExchangeRecorder
from actors.publishing.kafka_transport import KafkaTransport, PublishedTransactions
from actors.publishing.publisher import Publisher
from actors.publishing.transaction import KafkaTransaction, Refused
from cryptoviz.kafka import producer_id
from cryptoviz.settings import Settings
from cryptoviz.shards import shard_name

__all__ = ["DRAIN_S", "raw_publisher"]

DRAIN_S = 3.0
"""Maximum time to publish queued raw exchanges on stop. This queue contains no prices."""


class _ShortenRefused:
    """`PublisherEvents`: an exchange that Kafka rejects is queued again with a shorter body. The publisher does the counting."""

    def __init__(self) -> None:
        self.recorder: ExchangeRecorder | None = None

    def published(self, transaction: KafkaTransaction) -> None:
        pass

    def dropped(self, transaction: KafkaTransaction) -> None:
        pass

    def connected(self, last_tick_ts: int | None) -> None:
        pass

    def refused(self, transaction: KafkaTransaction, refused: Refused) -> None:
        if self.recorder is not None:
            self.recorder.shorten(transaction, refused)


def raw_publisher(settings: Settings, provider: str, shard: int, exchanges_a_tick: int) -> tuple[Publisher, ExchangeRecorder]:
    """The publisher of a scraper's raw exchanges, not yet started, and the recorder that feeds it.

    `exchanges_a_tick`: of a provider with one request per coin, one exchange per coin.
    """
    # No provider's name has a dot, so that no other provider has the id of a shard.
    role, topic = f"scraper-{provider}" + (f".{shard}" if shard > 1 else ""), settings.kafka.raw_topic
    transport = KafkaTransport(settings.kafka, topic, producer_id(role, topic), PublishedTransactions())
    events, queued = _ShortenRefused(), settings.collect.queue_ticks * exchanges_a_tick
    publisher = Publisher(shard_name(provider, shard), transport, queued, events, together=exchanges_a_tick)
    events.recorder = ExchangeRecorder(publisher, settings.kafka.max_record_bytes)
    return publisher, events.recorder
