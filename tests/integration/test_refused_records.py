"""Records that the broker or the client refuses: the others of their transaction are published, and all later ticks."""

from __future__ import annotations

import orjson
import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from actors.publishing.exchange_recorder import ExchangeRecorder, is_cut
from actors.publishing.publisher import Publisher
from actors.publishing.transaction import KafkaTransaction, Message
from actors.scraping.raw_publisher import _ShortenRefused
from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.kafka import admin_client
from cryptoviz.records import RawExchange
from cryptoviz.settings import Settings
from tests.support.clock import T0
from tests.support.collection_fakes import Events
from tests.support.records import exchange
from tests.support.topics import read_all
from tests.support.transports import collector, events, expected, scraper, tick
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration
COINS = len(DEFAULT_ASSETS)


def limit(settings: Settings, topic: str, max_bytes: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(max_bytes), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = admin_client(settings.kafka)
    admin.incremental_alter_configs([resource])[resource].result(60)
    eventually(lambda: admin.describe_configs([resource])[resource].result(60)["max.message.bytes"].value == str(max_bytes))


@pytest.mark.parametrize(("broker_bytes", "size"), [(4_000, 6_000), (2 << 20, 3 << 20)], ids=["by the broker", "by the client"])
def test_rejected_records_are_left_out_and_the_rest_is_published(topics: Settings, broker_bytes: int, size: int) -> None:
    """Two of seventeen are too large: the others of their transaction and record batch are published, and all later ticks."""
    limit(topics, topics.kafka.stream_topic, broker_bytes)
    large = {"solana", "cardano"}
    whole = tick(1)
    messages = tuple(Message(m.key, b"x" * size if m.key.decode() in large else m.value) for m in whole.messages)
    seen = Events()
    publisher = Publisher("test", collector(topics), 10, seen)
    publisher.start()
    publisher.offer(KafkaTransaction(whole.identity, whole.tick_ts, messages))
    publisher.offer(tick(2))
    assert publisher.close(240)
    refused = {key.decode() for name, about in seen.calls if name == "refused" for key in (about[1],)}  # type: ignore[index]
    assert refused == large
    assert [name for name, _ in seen.calls] == ["connected", "refused", "refused", "published", "published"]
    assert (publisher.stats.refused_total, publisher.stats.records_total) == (2, 2 * COINS - 2)
    gone = {orjson.loads(m.value)["event_id"] for m in whole.messages if m.key.decode() in large}
    assert events(topics) == sorted(set(expected(1, 2)) - gone)


def test_a_batch_that_is_too_large_as_a_whole_loses_no_record(topics: Settings) -> None:
    """Each record fits into a record batch of 4 000 bytes, but no four do: seventeen with the same key are first sent as one record batch."""
    limit(topics, topics.kafka.stream_topic, 4_000)
    transport = collector(topics)
    transport.connect()
    whole = tick(1)
    assert transport.publish(KafkaTransaction(whole.identity, whole.tick_ts, tuple(Message(b"one key", m.value) for m in whole.messages))) == ()
    assert events(topics) == expected(1)


def test_a_tick_without_any_record_that_fits_is_skipped(topics: Settings) -> None:
    limit(topics, topics.kafka.stream_topic, 300)
    transport = collector(topics)
    transport.connect()
    assert len(transport.publish(tick(1))) == COINS
    assert transport.connect() == tick(1).tick_ts
    limit(topics, topics.kafka.stream_topic, 100_000)
    assert transport.publish(tick(2)) == ()
    assert events(topics) == expected(2)


def test_an_exchange_that_is_refused_is_recorded_with_less_of_its_body(topics: Settings) -> None:
    limit(topics, topics.kafka.raw_topic, 10_000)
    events = _ShortenRefused()
    publisher = Publisher("scraper/test", scraper(topics), 10, events)
    sink = events.recorder = ExchangeRecorder(publisher, topics.kafka.max_record_bytes)
    publisher.start()
    body = "0123456789" * 2_000  # 20 000, then 10 000, then 5 000 characters
    sink(exchange(T0, fetch_id="large", body=body))
    sink(exchange(T0 + 1000, fetch_id="small"))
    eventually(lambda: publisher.stats.transactions_total == 4, 120)
    assert publisher.close(240)
    found = [RawExchange(**orjson.loads(value)) for value in read_all(topics, topics.kafka.raw_topic)]
    assert sorted((one.fetch_id, len(one.body or ""), is_cut(one.error)) for one in found) == [("large", 5_000, True), ("small", 45, False)]
    assert publisher.stats.refused_total == 2
