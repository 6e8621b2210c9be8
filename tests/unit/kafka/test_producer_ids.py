"""Two pipelines with topics of their own on one broker fence no producer of each other."""

from __future__ import annotations

import pytest

from actors.streaming.actor import transactional_id
from cryptoviz.kafka import producer_id
from cryptoviz.settings import KafkaSettings


@pytest.mark.parametrize("field", ["raw_topic", "stream_topic", "trades_topic"])
def test_the_usual_topic_is_not_in_the_id(field: str) -> None:
    assert producer_id("collector", getattr(KafkaSettings(), field)) == "cryptoviz-collector"


def test_producers_of_a_venue_differ_by_topic_and_shard() -> None:
    assert transactional_id(KafkaSettings(), "binance", 0) == "cryptoviz-stream-binance-0"
    assert transactional_id(KafkaSettings(), "binance", 1) == "cryptoviz-stream-binance-1"
    assert transactional_id(KafkaSettings(trades_topic="own-trades"), "binance", 0) == "cryptoviz-stream-binance-0@own-trades"
