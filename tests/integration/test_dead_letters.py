"""Dead letters in a real Kafka and a real MinIO: counted, shown, and replayed once under any interruption."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from typer.testing import CliRunner

from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.cli.commands import dead_letters as deadletters
from cryptoviz.cli.main import app
from cryptoviz.kafka import producer as kafka_producer
from cryptoviz.lake import Lake
from cryptoviz.lake import topic_reader as topicreader
from cryptoviz.lake.dead_letter_log import ReasonCounts, origin, read_replay_log
from cryptoviz.lake.topic_reader import read_topic
from cryptoviz.lake.verify import verify
from cryptoviz.settings import Settings
from spark_jobs.dead_letters import HEADER, DeadLetterReplay
from spark_jobs.tables.record_spec import PRICES_SPEC
from tests.support.engines import engines, lake_settings
from tests.support.pipeline import Demo, parse
from tests.support.ports import free_port
from tests.support.records import TICK, exchange, record
from tests.support.stored_lake import StoredLake
from tests.support.topics import Feed
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration]

COINS = len(DEFAULT_ASSETS)
OLDER = replace(PRICES_SPEC, schema_version=0)  # of an older lake job that does not support current records


@dataclass
class Rig:
    settings: Settings
    feed: Feed


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Three ticks: dead letters of an older job with some invalid records, a tick of both jobs, and a valid tick."""
    settings = lake_settings(tmp_path_factory.mktemp("dead"))
    with engines(settings):
        feed = Feed(settings)
        feed.tick(TICK)
        feed.publish([(b"k", b"garbage"), (b"k", None), (b"k", record(TICK).to_json())], [(b"k", b"[]")])
        feed.tick(TICK + 1000)
        StoredLake(settings, "older", OLDER).take_from_kafka()
        feed.tick(TICK + 1000)  # the same events as a tick that the older job rejected
        StoredLake(settings, "newer").take_from_kafka()
        feed.tick(TICK + 2000)
        yield Rig(settings, feed)


def replayed(settings: Settings) -> list[tuple[str, bytes]]:
    """(origin, value) of every republished record."""
    return [
        (dict(message.headers())[HEADER].decode(), message.value())
        for message in read_topic(settings.kafka, settings.kafka.stream_topic)
        if message.headers()
    ]


def test_reasons_are_counted_since_the_tables_beginning(rig: Rig) -> None:
    counts = ReasonCounts(rig.settings)
    assert dict(counts.look()) == {"not_json": 1, "not_object": 1, "tombstone": 1, "unknown_version": 2 * COINS + 1}
    assert dict(counts.look()) == dict(ReasonCounts(rig.settings).look())


def test_what_is_valid_now_is_published_once_and_the_rest_keeps_its_reason(rig: Rig) -> None:
    first = DeadLetterReplay(rig.settings).run()
    # One tick is new to the lake; it already has rows of the other tick's events; the repeated bitcoin record belongs to the first tick.
    assert (first.looked_at, first.published, first.done_before) == (2 * COINS + 4, COINS, 0)
    assert first.in_lake == COINS + 1
    assert dict(first.still_bad) == {"not_json": 1, "not_object": 1, "tombstone": 1}
    sent = {record(TICK, asset).to_json() for asset in DEFAULT_ASSETS}
    assert {value for _, value in replayed(rig.settings)} == sent
    assert set(read_replay_log(rig.settings.kafka)) == {place for place, _ in replayed(rig.settings)}
    # Again, before and after the lake has read them.
    second = DeadLetterReplay(rig.settings).run()
    assert (second.published, second.done_before, second.in_lake) == (0, COINS, COINS + 1)
    lake = StoredLake(rig.settings, "newest")
    assert lake.take_from_kafka() == 2 * COINS + 1  # the last tick and its exchange, and what was replayed
    assert DeadLetterReplay(rig.settings).run().published == 0
    assert len(replayed(rig.settings)) == COINS
    rows = Counter(Lake(rig.settings).prices(columns=["event_id"]).arrow().column("event_id").to_pylist())
    assert rows == Counter({record(TICK + i * 1000, asset).event_id: 1 for i in range(3) for asset in DEFAULT_ASSETS})
    report = verify(rig.settings)
    assert report.ok, report.to_text()


def test_the_list_says_which_were_published_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    DeadLetterReplay(rig.settings).run()
    monkeypatch.setattr(deadletters, "running_settings", lambda: rig.settings)
    listed = json.loads(CliRunner().invoke(app, ["dead-letters", "--json"]).stdout)
    marked = {origin(row["kafka_topic_id"], row["partition"], row["offset"]) for row in listed["rows"] if row["published_again"]}
    assert marked == {place for place, _ in replayed(rig.settings)}
    assert len(marked) == COINS
    table = CliRunner().invoke(app, ["dead-letters"]).stdout
    assert f"{rig.settings.kafka.stream_topic}:0:" in table
    assert all(word in table for word in ("published", "again"))
    gone = rig.settings.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    monkeypatch.setattr(topicreader, "_TIMEOUT_S", 1.0)
    monkeypatch.setattr(deadletters, "running_settings", lambda: rig.settings.model_copy(update={"kafka": gone}))
    without = CliRunner().invoke(app, ["dead-letters", "--json"])
    assert "cannot tell which were published again" in without.stderr
    assert [row["published_again"] for row in json.loads(without.stdout)["rows"]] == [None] * len(listed["rows"])


def test_a_replay_that_dies_before_its_commit_leaves_nothing_and_is_fenced(rig: Rig) -> None:
    newest = record(TICK + 3000, provider="late")
    rig.feed.publish([(b"k", newest.to_json())])
    StoredLake(rig.settings, "older again", OLDER).take_from_kafka()
    kafka = rig.settings.kafka
    dying = kafka_producer(kafka, {"transactional.id": f"cryptoviz-dead-letter-replay-{kafka.ledger_topic}"})
    dying.init_transactions(60)
    dying.begin_transaction()
    dying.produce(kafka.stream_topic, newest.to_json(), key=b"k", headers=[(HEADER, b"dying")])
    dying.flush(60)
    done = DeadLetterReplay(rig.settings, reasons=["unknown_version"]).run()
    assert done.published == 1
    assert [origin for origin, value in replayed(rig.settings) if value == newest.to_json()] != ["dying"]
    StoredLake(rig.settings, "newest again").take_from_kafka()
    assert Lake(rig.settings).query("SELECT count(*) AS n FROM prices WHERE provider = 'late'").arrow().column("n")[0].as_py() == 1


def test_a_chosen_reason_and_time_only(rig: Rig) -> None:
    assert DeadLetterReplay(rig.settings, reasons=["tombstone"]).run().looked_at == 1
    assert DeadLetterReplay(rig.settings, reasons=["no_such"]).run().looked_at == 0


def test_command_line_lists_shows_exports_and_replays(demo: Demo) -> None:
    """In a running pipeline: the counts are on the lake component, and the replay is an operation."""
    producer = kafka_producer(demo.settings.kafka)
    where: list[tuple[int, int]] = []
    producer.produce(demo.settings.kafka.stream_topic, b"[1, \x1b]", on_delivery=lambda _, done: where.append((done.partition(), done.offset())))
    producer.produce(demo.settings.kafka.raw_topic, exchange(TICK).to_json()[:20])
    producer.flush(60)
    eventually(lambda: demo.metric("lake", "dead_letters_total") >= 2, 120, 0.3)
    listed = parse(demo.cli("dead-letters", "--json", "--reason", "not_json"))
    assert listed["total"] >= 2
    assert set(listed["by_reason"]) == {"not_json"}
    assert [row["published_again"] for row in listed["rows"]] == [None] * len(listed["rows"])
    place = f"{demo.settings.kafka.stream_topic}:{where[0][0]}:{where[0][1]}"
    shown = demo.cli("dead-letters", "--show", place)
    assert shown.returncode == 0, shown.stderr
    assert "not_json" in shown.stdout
    assert "\x1b" not in shown.stdout
    export = demo.settings.home / "dead.ndjson"
    assert demo.cli("dead-letters", "--export", str(export)).returncode == 0
    assert len(export.read_text().splitlines()) >= listed["total"]
    ended = json.loads(demo.cli("dead-letters", "replay", "--json").stdout.splitlines()[-1])
    assert ended["state"] == "SUCCEEDED", ended
    assert ended["figures"]["published_total"] == 0
    assert ended["figures"]["still_bad_total"] >= 2
    assert demo.cli("dead-letters", "--show", "nonsense").returncode == 2
