"""Faults 18 and 22: late, early, unordered and repeated times, and invalid records. Each becomes a row of its day or a dead letter."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.kafka import producer as kafka_producer
from cryptoviz.records import event_id
from cryptoviz.settings import Settings
from tests.chaos.rig import ROUNDS, SEED, Figures, Progress, assert_same_sets
from tests.support.engines import engines, lake_settings
from tests.support.lake_job import LakeHost, caught_up, host_lake, ray_cluster
from tests.support.lake_readers import by_folder
from tests.support.poison import POISON
from tests.support.records import DAY_MS, TICK, exchange, record
from tests.support.topics import Feed

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

BROKER_BYTES = 12 << 20
HUGE_BYTES = 10 << 20
HOUR_MS = 3_600_000


@dataclass
class Rig:
    settings: Settings
    feed: Feed
    host: LakeHost
    producer: Any


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A broker that accepts records of 12 MiB, and a lake job that accepts 2 MiB."""
    settings = lake_settings(tmp_path_factory.mktemp("records"))
    generous = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"max_record_bytes": BROKER_BYTES})})
    with engines(generous), ray_cluster() as cluster:
        host = host_lake(cluster, settings)
        host.start()
        producer = kafka_producer(settings.kafka, {"message.max.bytes": BROKER_BYTES})
        yield Rig(settings, Feed(settings), host, producer)
        host.stop()


def put(rig: Rig, tick_ts: int, asset: int, kafka_ms: int) -> str:
    """Publish one record with the Kafka timestamp `kafka_ms`; returns its event id."""
    one = record(tick_ts, DEFAULT_ASSETS[asset])
    rig.producer.produce(rig.settings.kafka.stream_topic, one.to_json(), key=one.asset_id.encode(), timestamp=kafka_ms)
    return event_id(one.asset_id, tick_ts, "live")


def test_times_of_all_kinds_come_into_their_day_or_among_the_dead_letters(rig: Rig) -> None:
    chance = random.Random(SEED)
    figures = Figures("fault 18")
    now = int(datetime.now(UTC).timestamp() * 1000)
    dead: Counter[str] = Counter()
    for number in range(ROUNDS):
        base = now - number * 1_000_000
        good = [(base - chance.randrange(400 * DAY_MS), base) for _ in range(120)]  # late, unordered, in about 120 days
        good += [(base + chance.randrange(HOUR_MS, 23 * HOUR_MS), base) for _ in range(40)]  # a clock that is fast by hours
        good += [(base - DAY_MS - chance.randrange(HOUR_MS), base - DAY_MS) for _ in range(40)]  # Kafka's clock went back a day
        early = [(base + DAY_MS + HOUR_MS + chance.randrange(900 * DAY_MS), base) for _ in range(30)]  # from the future
        early += [(1_200_000_000_000 + chance.randrange(DAY_MS), base) for _ in range(10)]  # before there was a market
        records = [(True, *one) for one in good] + [(False, *one) for one in early]
        records += chance.sample(records, 40)  # repeated
        chance.shuffle(records)
        for is_good, tick_ts, kafka_ms in records:
            event = put(rig, tick_ts, chance.randrange(len(DEFAULT_ASSETS)), kafka_ms)
            if is_good:
                rig.feed.acknowledged[event] += 1
                rig.feed.rows += 1
            else:
                dead["bad_time"] += 1
        assert rig.producer.flush(30) == 0
        gone_in = Progress(rig.settings, [rig.feed])
        for i in range(70):
            rig.feed.tick(TICK + number * 500_000 + i * 1000)
        figures.add("late, early, out of order, repeated", gone_in.made())
    assert_same_sets(rig.settings, [rig.feed])
    rows = by_folder(rig.settings, "prices", ["tick_ts", "year", "month", "day"]).to_pylist()
    assert all((row["tick_ts"].year, row["tick_ts"].month, row["tick_ts"].day) == (row["year"], row["month"], row["day"]) for row in rows)
    assert len({(row["year"], row["month"], row["day"]) for row in rows}) > 50
    assert reasons(rig.settings) == dead
    assert rig.host.probe().healthy
    figures.tell()


def test_poison_of_all_kinds_and_ten_megabytes_stops_no_partition(rig: Rig) -> None:
    caught_up(rig.settings)
    chance = random.Random(SEED)
    figures = Figures("fault 22")
    topic, partitions = rig.settings.kafka.stream_topic, rig.settings.kafka.stream_partitions
    before, expected = reasons(rig.settings), Counter[str]()
    # With this job's settings: the two cases that are invalid by the unit tests' limit and clock differ here.
    poison = {name: (value, str(reason)) for name, (value, reason) in POISON.items() if name not in ("too large", "tick from the future")}
    poison["nested too deeply"] = (POISON["nested too deeply"][0], "not_json")
    poison["ten megabytes"] = (b'{"a":"' + b"x" * HUGE_BYTES + b'"}\n', "too_large")
    poison["ten megabytes of nothing"] = (b"\x00" * HUGE_BYTES, "too_large")
    for number in range(ROUNDS):
        begun = Progress(rig.settings, [rig.feed])
        for partition in range(partitions):
            names = list(poison)
            chance.shuffle(names)
            for i, name in enumerate(names):
                value, reason = poison[name]
                rig.producer.produce(topic, value, key=b"poison", partition=partition)
                expected[reason] += 1
                one = record(TICK + 50_000_000 + number * 1_000_000 + i * 1000, DEFAULT_ASSETS[partition])
                rig.producer.produce(topic, one.to_json(), key=one.asset_id.encode(), partition=partition)
                rig.feed.acknowledged[one.event_id] += 1
                rig.feed.rows += 1
        rig.producer.produce(rig.settings.kafka.raw_topic, b"\x00" * HUGE_BYTES, key=b"poison")
        rig.producer.produce(rig.settings.kafka.raw_topic, exchange(TICK).to_json(), key=b"good")
        expected["too_large"] += 1
        rig.feed.exchanges += 1
        assert rig.producer.flush(60) == 0
        rig.feed.tick(TICK + 60_000_000 + number * 1_000_000)
        figures.add(f"{len(poison)} kinds of poison among good ones", begun.made())
    assert_same_sets(rig.settings, [rig.feed])
    assert reasons(rig.settings) - before == expected
    assert rig.host.probe().healthy
    figures.tell()


def reasons(settings: Settings) -> Counter[str]:
    """Dead letters by the first word of their reason, by a plain reader."""
    return Counter(str(row["reason"]).split(":")[0] for row in by_folder(settings, "dead_letters", ["reason"]).to_pylist())
