"""Time at which each row became readable: timestamps of the table's log entries in the store, compared with Kafka timestamps."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from confluent_kafka import OFFSET_BEGINNING, TopicPartition

from cryptoviz.kafka import consumer as kafka_consumer
from cryptoviz.lake.objects import S3Access, minio_client, table_address
from cryptoviz.lake.parts import parse_part
from cryptoviz.settings import Settings

__all__ = ["Commit", "commits", "latencies_ms", "record_times"]

Times = dict[int, npt.NDArray[np.int64]]
"""By partition, Kafka's time (UTC epoch ms) of the record at each offset; 0 without a record."""

_POLL_S = 5.0


@dataclass(frozen=True, slots=True)
class Commit:
    """A log entry: time in the store (UTC epoch ms), and paths, bytes and rows added."""

    visible_ms: float
    paths: tuple[str, ...]
    size: int
    rows: int


def commits(settings: Settings, table: str = "prices") -> list[Commit]:
    """All entries of the table's log that add files, oldest first."""
    address, client = table_address(settings.s3, table), minio_client(S3Access.of(settings.s3))
    found = []
    for item in client.list_objects(address.bucket, prefix=address.key("_delta_log/"), recursive=True):
        if not item.object_name.endswith(".json"):
            continue
        response = client.get_object(address.bucket, item.object_name)
        try:
            actions = [json.loads(line) for line in response.read().splitlines()]
        finally:
            response.close()
            response.release_conn()
        adds = [action["add"] for action in actions if "add" in action]
        if adds:
            rows = sum(json.loads(add["stats"])["numRecords"] for add in adds)
            paths = tuple(add["path"] for add in adds)
            found.append(Commit(item.last_modified.timestamp() * 1000, paths, sum(add["size"] for add in adds), rows))
    return found


def record_times(settings: Settings) -> Times:
    """Kafka timestamps of all committed records of the stream topic."""
    kafka = settings.kafka
    consumer = kafka_consumer(kafka, {"enable.partition.eof": True})
    waiting = set(range(kafka.stream_partitions))
    pairs: dict[int, list[tuple[int, int]]] = {partition: [] for partition in waiting}
    consumer.assign([TopicPartition(kafka.stream_topic, partition, OFFSET_BEGINNING) for partition in waiting])
    while waiting and (messages := consumer.consume(10_000, _POLL_S)):
        for message in messages:
            if message.error() is not None:
                waiting.discard(message.partition())
            else:
                pairs[message.partition()].append((message.offset(), message.timestamp()[1]))
    consumer.close()
    return {partition: _dense(of) for partition, of in pairs.items()}


def _dense(pairs: list[tuple[int, int]]) -> npt.NDArray[np.int64]:
    times = np.zeros(pairs[-1][0] + 1 if pairs else 0, np.int64)
    if pairs:
        found = np.array(pairs, np.int64)
        times[found[:, 0]] = found[:, 1]
    return times


def latencies_ms(found: list[Commit], times: Times, since_ms: float, until_ms: float) -> list[float]:
    """Latency from append to readable, of each record appended in `[since_ms, until_ms)`."""
    values: list[float] = []
    for commit in found:
        for path in commit.paths:
            part = parse_part(path)
            if part is None:
                continue
            of_part = times[part.partition][part.start : part.end + 1]
            chosen = of_part[(of_part >= since_ms) & (of_part < until_ms)]
            values.extend((commit.visible_ms - chosen).tolist())
    return values
