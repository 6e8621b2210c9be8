"""Fault 9: checkpoint deleted, topic re-created, records dropped before the lake read them. The lake continues or refuses, and overwrites nothing."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from cryptoviz.kafka import admin_client
from cryptoviz.lake.objects import S3Access, minio_client, table_address
from cryptoviz.settings import Settings
from tests.chaos.rig import ROUNDS, Figures, Keeper, Load, Progress, assert_same_sets, rows_committed
from tests.support.engines import engines, lake_settings
from tests.support.lake_job import caught_up, host_lake, ray_cluster
from tests.support.records import TICK
from tests.support.topics import Feed, drop_records, make_topics
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def fed(feed: Feed, rows: int) -> bool:
    return feed.rows > rows


def failure_of(keeper: Keeper) -> str:
    return keeper.failed


def feeds_of(settings: Settings) -> Iterator[tuple[Feed, int]]:
    """First ticks of feeds with separate identities, a day apart."""
    for number in itertools.count():
        yield Feed(settings, f"feed-{number}"), TICK + number * 86_400_000


def objects_of(settings: Settings) -> dict[str, str]:
    """Every data file and its tag."""
    address = table_address(settings.s3, "prices")
    listed = minio_client(S3Access.of(settings.s3)).list_objects(address.bucket, prefix="year=", recursive=True)
    return {item.object_name: item.etag for item in listed}


def unchanged(settings: Settings, before: dict[str, str]) -> bool:
    return before.items() <= objects_of(settings).items()


def test_deleted_checkpoint_and_recreated_topic_lose_and_overwrite_nothing(tmp_path: Path) -> None:
    settings = lake_settings(tmp_path)
    figures = Figures("fault 9")
    with engines(settings), ray_cluster() as cluster:
        host = host_lake(cluster, settings)
        host.start()
        made = feeds_of(settings)
        feed, first_tick = next(made)
        feeds = [feed]
        with Keeper(host) as keeper:
            for _ in range(ROUNDS):
                with Load(feed, first_tick=first_tick):
                    eventually(lambda: rows_committed(settings) > sum(one.rows for one in feeds) - 500, 60)
                    files = objects_of(settings)
                    shutil.rmtree(settings.home / "lake-scratch")
                    figures.add("checkpoint deleted", Progress(settings, feeds).made(batches=8))
                    assert unchanged(settings, files)
                caught_up(settings)
                files = objects_of(settings)
                recreate(settings)
                feed, first_tick = next(made)
                feeds.append(feed)
                with Load(feed, first_tick=first_tick):
                    figures.add("topic re-created", Progress(settings, feeds).made(batches=8))
                    eventually(partial(fed, feed, 500), 60)
                assert unchanged(settings, files)
                assert_same_sets(settings, feeds)
            assert keeper.failed == ""
    figures.tell()


def recreate(settings: Settings) -> None:
    """Delete the stream topic and create it again under its name."""
    admin, topic = admin_client(settings.kafka), settings.kafka.stream_topic
    admin.delete_topics([topic])[topic].result(30)
    eventually(lambda: topic not in admin.list_topics(timeout=60).topics, 30)
    make_topics(settings)


def test_a_lake_behind_retention_refuses_unless_the_loss_is_accepted(tmp_path: Path) -> None:
    settings = lake_settings(tmp_path)
    figures = Figures("fault 9")
    with engines(settings), ray_cluster() as cluster:
        feed = Feed(settings)
        for i in range(80):
            feed.tick(TICK + i * 1000)
        for number in range(ROUNDS):
            host = host_lake(cluster, settings, f"lake-{number}")
            host.start()
            caught_up(settings)
            host.stop()
            files = objects_of(settings)
            taken = feed.acknowledged.copy()
            for i in range(10):
                feed.tick(TICK + (number + 1) * 1_000_000 + i * 1000)
            drop_records(settings)
            feed.acknowledged = taken
            with Keeper(host) as keeper:
                eventually(partial(failure_of, keeper), 60)
            assert "Kafka no longer has the offsets" in keeper.failed
            assert "CRYPTOVIZ_LAKE__ACCEPT_LOST_OFFSETS" in keeper.failed
            assert objects_of(settings) == files
            cluster.kill(host.actor)
            accepting = host_lake(
                cluster, settings.model_copy(update={"lake": settings.lake.model_copy(update={"accept_lost_offsets": True})}), f"accepting-{number}"
            )
            begun = Progress(settings, [feed], owed=rows_committed(settings))
            accepting.start()
            feed.tick(TICK + (number + 1) * 1_000_000 + 500_000)
            figures.add("behind retention, loss accepted", begun.made())
            assert unchanged(settings, files)
            assert_same_sets(settings, [feed])
            accepting.stop()
            cluster.kill(accepting.actor)
    figures.tell()
