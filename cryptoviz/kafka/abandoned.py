"""A transaction that its coordinator has ended, and the partitions still hold open: readers of committed records wait behind it for ever.

Seen with Kafka 4.3.1, whose broker was killed (SIGKILL) inside a transaction and restarted on a busy machine: the coordinator wrote "PrepareAbort"
and, 6 s later, "CompleteAbort", but no partition got the marker that ends the transaction. Such transactions are called hanging (KIP-664), and Kafka
leaves them to an administrator. A later transaction of the same producer id ends them, with its own outcome.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

__all__ = ["abort_abandoned", "is_timeout"]


def is_timeout(error: KafkaException) -> bool:
    """Whether the call got no final answer. A read of committed offsets gets none while a transaction with offsets of the group is open."""
    return bool(error.args[0].code() == KafkaError._TIMED_OUT)


def abort_abandoned(producer: Any, topics: Collection[str], group: Any, place: TopicPartition, timeout_s: float) -> None:
    """Abort a transaction in every partition of the topics and in the offsets of the group, and with it what is open there of this producer id.

    Call it after `init_transactions` has returned: the coordinator has ended all earlier transactions of the id then. Readers of committed records
    never see the empty records that it needs.

    Raises:
        KafkaException, TimeoutError: not aborted in all partitions; the producer is unusable.
    """
    producer.begin_transaction()
    for topic in topics:
        found = producer.list_topics(topic, timeout=timeout_s).topics[topic]
        if found.error is not None:
            raise TimeoutError(f"an abandoned transaction cannot be ended: topic {topic}: {found.error.str()}")
        for partition in found.partitions:
            producer.produce(topic, value=b"", key=None, partition=partition)
    # Before the offsets: they show that there is something to abort, until it is aborted everywhere.
    if unsent := producer.flush(timeout_s):
        text = f"{unsent} of the partitions of {', '.join(topics)} did not answer within {timeout_s:g} s"
        raise TimeoutError(f"an abandoned transaction cannot be ended: {text}")
    producer.send_offsets_to_transaction([place], group, timeout_s)
    producer.abort_transaction(timeout_s)
