"""Record the classes of the embedded Kafka (`cryptoviz.engines.class_archive`)."""

from __future__ import annotations

import socket
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from cryptoviz.engines.class_archive import record_classes
from cryptoviz.engines.jars import kafka_classpath
from cryptoviz.engines.java import java_executable
from cryptoviz.engines.kafka import EmbeddedKafka
from cryptoviz.kafka import consumer, producer
from cryptoviz.settings import LOOPBACK, Settings, claim_home, load_settings

__all__ = ["record_kafka_classes"]

_ANSWER_S = 30.0
_STOP_S = 300.0
"""The archive is written during the stop."""


def record_kafka_classes(settings: Settings) -> bool:
    """Run a broker of its own for a moment, in a temporary folder and on free ports. Raises and returns as `record_classes` does.

    Does nothing if the settings name an external Kafka, in which a record would be written.
    """
    if not settings.kafka.embedded:
        return False
    java, jars = java_executable(), kafka_classpath(settings)

    def run(options: Sequence[str]) -> None:
        with tempfile.TemporaryDirectory(prefix="cv-classes-") as home:
            ports = {name: _free_port() for name in ("port", "controller_port")}
            own = claim_home(load_settings(home=Path(home), cache=settings.cache, kafka=ports))
            broker = EmbeddedKafka(own, options)
            try:
                broker.start()
                _use(own)
            finally:
                broker.stop(_STOP_S)

    return record_classes(settings, "kafka", java, jars, run)


def _use(settings: Settings) -> None:
    """One transaction, written and read."""
    topic = settings.kafka.stream_topic
    writer = producer(settings.kafka, {"transactional.id": "classes"})
    writer.init_transactions(_ANSWER_S)
    writer.begin_transaction()
    writer.produce(topic, b"{}", key=b"k")
    writer.commit_transaction(_ANSWER_S)
    reader = consumer(settings.kafka, {"group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
    try:
        reader.subscribe([topic])
        reader.consume(1, _ANSWER_S)
    finally:
        reader.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
