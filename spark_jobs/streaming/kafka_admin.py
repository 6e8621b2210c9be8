"""Kafka admin requests: topic ids, earliest and latest offsets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import OffsetSpec

from cryptoviz.errors import EngineUnavailable
from cryptoviz.kafka import admin_client
from cryptoviz.lake.parts import topic_uuid
from cryptoviz.lake.progress import Offsets
from cryptoviz.settings import KafkaSettings
from spark_jobs.streaming.start_offsets import StartPoint

__all__ = ["KafkaTopics", "parse_batch_offsets"]

_TIMEOUT_S = 10.0
T = TypeVar("T")


class KafkaTopics:
    """Ids and offsets of the topics that the job reads. Thread-safe; connects at the first call."""

    def __init__(self, kafka: KafkaSettings, topics: Sequence[str]) -> None:
        self._kafka = kafka
        self._topics = tuple(topics)
        self._client: Any = None

    def describe(self, timeout_s: float = _TIMEOUT_S) -> dict[str, tuple[str, int]]:
        """Topic name to its UUID and number of partitions.

        Raises:
            EngineUnavailable: the broker does not answer or a topic is missing.
        """
        futures = self._admin().describe_topics(TopicCollection(list(self._topics)), request_timeout=timeout_s)
        found = {}
        for topic, future in futures.items():
            description = self._result(future, timeout_s)
            found[topic] = (topic_uuid(str(description.topic_id)), len(description.partitions))
        return found

    def start_points(self, described: Mapping[str, tuple[str, int]], progress: Mapping[str, Offsets]) -> list[StartPoint]:
        """Kafka's offsets beside the lake's. `progress` by topic: the progress of the table that the topic fills."""
        pairs = [(topic, partition) for topic, (_, count) in described.items() for partition in range(count)]
        earliest = self._offsets(pairs, OffsetSpec.earliest())
        ends = self._offsets(pairs, OffsetSpec.latest())
        return [
            StartPoint(
                topic=topic,
                topic_id=described[topic][0],
                partition=partition,
                earliest=earliest[topic, partition],
                end=ends[topic, partition],
                progress=progress[topic].get((described[topic][0], partition)),
            )
            for topic, partition in pairs
        ]

    def ends(self, pairs: Sequence[tuple[str, int]], timeout_s: float = _TIMEOUT_S) -> dict[tuple[str, int], int]:
        """Last stable offset (`read_committed`) by (topic, partition)."""
        return self._offsets(pairs, OffsetSpec.latest(), timeout_s)

    def _offsets(self, pairs: Sequence[tuple[str, int]], spec: OffsetSpec, timeout_s: float = _TIMEOUT_S) -> dict[tuple[str, int], int]:
        asked = {TopicPartition(topic, partition): spec for topic, partition in pairs}
        futures = self._admin().list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=timeout_s)
        return {(key.topic, key.partition): int(self._result(future, timeout_s).offset) for key, future in futures.items()}

    def _admin(self) -> Any:
        if self._client is None:
            self._client = admin_client(self._kafka, {"client.id": "cryptoviz-lake", "log_level": 3})
        return self._client

    def _result(self, future: Future[Any], timeout_s: float) -> Any:
        try:
            return future.result(timeout=timeout_s + 1)
        except (KafkaException, TimeoutError) as error:
            address = self._kafka.bootstrap_servers
            message = f"Kafka at {address} (CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS) does not answer for {', '.join(self._topics)}: {error}"
            raise EngineUnavailable(message, engine="kafka", address=address) from error


def parse_batch_offsets(text: str) -> dict[tuple[str, int], int]:
    """End offsets of a micro-batch, by (topic, partition), from Spark's offset log entry: a version, the metadata, one line for each source."""
    lines = text.splitlines()
    if len(lines) < 3 or lines[0] != "v1":
        raise ValueError(f"invalid Spark offset log entry: {text[:100]!r}")
    return {(topic, int(partition)): int(offset) for topic, of in json.loads(lines[2]).items() for partition, offset in of.items()}
