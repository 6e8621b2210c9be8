"""Exactly once under lost responses, open transactions of others, pauses and takeovers: the producers with a real broker."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from actors.publishing.kafka_transport import KafkaTransport
from cryptoviz.engines.topics import TopicAdmin
from cryptoviz.errors import EngineUnavailable
from cryptoviz.kafka import Fenced, OwnedProducer, Progress, Record, admin_client, producer, progress_of
from cryptoviz.lake.topic_reader import topic_ends
from cryptoviz.settings import KafkaSettings, Settings, dump_settings_file
from tests.support.clock import T0
from tests.support.records import exchange
from tests.support.topics import all_ended, make_topics
from tests.support.transports import collector, events, expected, raw, scraper, tick
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


class OpenTransaction:
    """Another producer with an open transaction in every partition of a topic."""

    def __init__(self, settings: Settings, topic: str, timeout_ms: int = 600_000) -> None:
        self._producer = producer(settings.kafka, {"transactional.id": uuid.uuid4().hex, "transaction.timeout.ms": timeout_ms})
        self._producer.init_transactions(60)
        self._producer.begin_transaction()
        for partition in range(len(topic_ends(settings.kafka, topic)[1])):
            self._producer.produce(topic, b"open", partition=partition)
        self._producer.flush(60)

    def end(self) -> None:
        self._producer.abort_transaction(60)


def test_a_lost_acknowledgement_behind_anothers_open_transaction_doubles_no_tick(topics: Settings) -> None:
    first = collector(topics)
    first.connect()
    first.publish(tick(1))
    other = OpenTransaction(topics, topics.kafka.stream_topic)
    first.publish(tick(2))  # committed, and hidden from readers of committed records until the other transaction ends
    assert first.connect() == tick(2).tick_ts
    assert [first.is_published(tick(n)) for n in (1, 2, 3)] == [True, True, False]
    successor = collector(topics)
    assert successor.connect() == tick(2).tick_ts
    successor.publish(tick(3))
    other.end()
    assert events(topics) == expected(1, 2, 3)


def test_a_topic_of_an_earlier_version_behind_anothers_open_transaction_is_read_to_its_end(topics: Settings) -> None:
    """Without progress the tail decides; it is read once the other transaction has ended (2 s, then the broker checks every second)."""
    old = producer(topics.kafka, {"transactional.id": "old"})
    old.init_transactions(60)
    other = OpenTransaction(topics, topics.kafka.stream_topic, timeout_ms=2_000)
    old.begin_transaction()
    for message in tick(5).messages:
        old.produce(topics.kafka.stream_topic, message.value, key=message.key)
    old.commit_transaction(60)
    assert collector(topics).connect() == tick(5).tick_ts
    del other


def test_an_exchange_is_found_behind_hundreds_of_others(topics: Settings) -> None:
    first = scraper(topics)
    first.connect()
    first.publish(raw(1))
    other = OwnedProducer(topics.kafka, uuid.uuid4().hex, topics.kafka.raw_topic)
    other.connect()
    for n in range(200):
        other.commit([Record(topics.kafka.raw_topic, b"k", exchange(T0 + n).to_json())], None, str(n))
    first.connect()
    assert first.is_published(raw(1))
    assert not first.is_published(raw(2))


def test_a_transaction_of_unknown_outcome_was_committed_or_not_and_never_half(topics: Settings) -> None:
    dead = collector(topics)
    dead.connect()
    dead.publish(tick(1))
    half = dead._producer._producer
    half.begin_transaction()
    for message in tick(2).messages:
        half.produce(topics.kafka.stream_topic, message.value, key=message.key)
    half.flush(60)
    dead._producer._send_progress(dead._producer.progress)  # its progress is pending too
    assert dead.connect() == tick(1).tick_ts
    assert not dead.is_published(tick(2))
    dead.publish(tick(2))
    assert events(topics) == expected(1, 2)


def test_a_topic_made_again_has_no_progress(topics: Settings) -> None:
    first = collector(topics)
    first.connect()
    first.publish(tick(9))
    admin = admin_client(topics.kafka)
    admin.delete_topics([topics.kafka.stream_topic])[topics.kafka.stream_topic].result(120)
    eventually(lambda: topics.kafka.stream_topic not in admin.list_topics(timeout=60).topics)
    make_topics(topics)
    second = collector(topics)
    assert second.connect() is None
    second.publish(tick(1))
    assert events(topics) == expected(1)


def test_a_topic_made_again_under_a_producer_is_the_one_that_its_progress_names(topics: Settings) -> None:
    """Other processes read its progress for the current topic, and so does the producer after a lost response."""
    kafka, mine = topics.kafka, collector(topics)
    name = f"collector-{kafka.stream_topic}"
    assert progress_of(kafka, name, kafka.stream_topic) is None
    mine.connect()
    mine.publish(tick(8))
    before = progress_of(kafka, name, kafka.stream_topic)
    assert before is not None
    assert before.position == tick(8).tick_ts
    admin = admin_client(kafka)
    admin.delete_topics([kafka.stream_topic])[kafka.stream_topic].result(120)
    eventually(lambda: kafka.stream_topic not in admin.list_topics(timeout=60).topics)
    TopicAdmin(kafka).ensure_topics({})

    def published() -> bool:
        """Like the publisher: connect after a failure, then check."""
        try:
            if not mine.is_published(tick(9)):
                mine.publish(tick(9))
        except EngineUnavailable:
            mine.connect()
            return False
        return True

    eventually(published)
    after = progress_of(kafka, name, kafka.stream_topic)
    assert after is not None
    assert after.position == tick(9).tick_ts
    assert after.topic_id != before.topic_id
    mine.connect()
    assert mine.is_published(tick(9))
    assert events(topics) == expected(9)


def test_a_producer_whose_transaction_timed_out_continues(topics: Settings) -> None:
    """SIGSTOP during a transaction: the broker aborts it after 1 s and fences its producer without a takeover."""
    short = topics.model_copy(update={"kafka": topics.kafka.model_copy(update={"transaction_timeout_ms": 1000})})
    paused = collector(short)

    def published(n: int) -> bool:
        """Like the publisher, since a busy machine may take longer than a second for any transaction."""
        try:
            paused.connect()
            if not paused.is_published(tick(n)):
                paused.publish(tick(n))
        except EngineUnavailable:
            return False
        return True

    eventually(lambda: published(1))
    send = paused._producer._send_progress

    def after_a_pause(progress: Progress) -> None:
        paused._producer._producer.flush(60)
        topic_ends(topics.kafka, topics.kafka.stream_topic, settled=True)  # until the broker has ended the transaction
        send(progress)

    paused._producer._send_progress = after_a_pause  # type: ignore[method-assign]
    with pytest.raises(EngineUnavailable, match=r"kafka\.transaction_timeout_ms"):
        paused.publish(tick(2))
    paused._producer._send_progress = send  # type: ignore[method-assign]
    assert paused.connect() == tick(1).tick_ts
    assert not paused.is_published(tick(2))
    eventually(lambda: published(2))
    assert events(topics) == expected(1, 2)


def test_of_two_collectors_the_newest_wins_and_the_other_ends(topics: Settings) -> None:
    first, second = collector(topics), collector(topics)
    first.connect()
    first.publish(tick(1))
    assert second.connect() == tick(1).tick_ts
    with pytest.raises(EngineUnavailable):
        first.publish(tick(2))
    for _ in range(2):
        with pytest.raises(Fenced, match="took over"):
            first.connect()
    second.publish(tick(2))  # the check did not disturb it
    assert events(topics) == expected(1, 2)


def test_a_claim_between_a_look_and_a_new_start_makes_the_old_one_yield(topics: Settings) -> None:
    """The old producer checks, sees its own claim, and connects; a successor claims in between."""
    old, new = collector(topics), collector(topics)
    old.connect()
    read, looked = old._producer._read, []

    def late(*, stable: bool) -> Any:
        found = read(stable=stable)
        if not stable:
            looked.append(new.connect())
        return found

    old._producer._read = late  # type: ignore[method-assign]
    with pytest.raises(Fenced):
        old.connect()
    assert len(looked) == 1
    with pytest.raises(EngineUnavailable):  # the old producer fenced it before it saw the claim
        new.publish(tick(1))
    new.connect()
    new.publish(tick(1))
    assert events(topics) == expected(1)


def test_many_starts_at_once_leave_one_owner(topics: Settings) -> None:
    found: list[KafkaTransport] = []

    def start() -> None:
        mine = collector(topics)
        for _ in range(20):
            try:
                mine.connect()
            except EngineUnavailable:
                continue
            break
        found.append(mine)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    published = 0
    for mine in found:
        for _ in range(3):
            try:
                mine.connect()
                mine.publish(tick(1)) if not mine.is_published(tick(1)) else None
                published += 1
                break
            except EngineUnavailable:
                continue
            except Fenced:
                break
    assert len(found) == 4
    assert published == 1
    assert events(topics) == expected(1)


KILLED = """
import os, signal, sys
from pathlib import Path
from cryptoviz.kafka import OwnedProducer, Record
from cryptoviz.settings import load_settings_file
kafka = load_settings_file(Path(sys.argv[1])).kafka
producer = OwnedProducer(kafka, "killed-" + kafka.stream_topic, kafka.stream_topic)
producer.connect()
inner = producer._producer
inner.begin_transaction()
for partition in range(2):
    inner.produce(kafka.stream_topic, b"half", partition=partition)
inner.flush(10)
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_inside_a_transaction(settings: Settings, folder: Path) -> None:
    dump_settings_file(settings, folder / "settings.json")
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder / "settings.json")], timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL


def test_a_successor_frees_readers_at_once(topics: Settings, tmp_path: Path) -> None:
    assert topics.kafka.transaction_timeout_ms == 600_000  # longer than this test
    killed_inside_a_transaction(topics, tmp_path)
    successor = collector(topics, f"killed-{topics.kafka.stream_topic}")
    successor.connect()
    successor.publish(tick(1))
    assert events(topics) == expected(1)


def test_readers_wait_for_a_killed_producer_no_longer_than_its_time_and_a_second(topics: Settings, tmp_path: Path) -> None:
    usual_ms = KafkaSettings().transaction_timeout_ms
    usual = topics.model_copy(update={"kafka": topics.kafka.model_copy(update={"transaction_timeout_ms": usual_ms})})
    killed_inside_a_transaction(usual, tmp_path)
    other = collector(topics)
    other.connect()
    other.publish(tick(1))
    # 5 s, a second until the broker checks, and time for a busy machine; not Kafka's default of a minute.
    eventually(lambda: all_ended(topics, topics.kafka.stream_topic), 45)
    assert events(topics) == expected(1)
    assert usual_ms == 5_000
