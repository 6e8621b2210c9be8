"""Frames of the replay market's streams, recorded in a real Kafka and replayed against the trades in a real MinIO."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka.admin import ConfigResource, ResourceType

from actors.streaming.actor import StreamActor
from cryptoviz.engines.topics import TopicAdmin
from cryptoviz.errors import QueryError
from cryptoviz.kafka import admin_client, producer
from cryptoviz.lake.frame_replay import replay_frames
from cryptoviz.settings import Settings
from cryptoviz.trades.record import Trade
from cryptoviz.venues.frames import FrameBatch, frames_key
from spark_jobs.streaming.decode import decode
from spark_jobs.tables.record_spec import TRADES_SPEC
from tests.integration.test_refused_records import limit
from tests.support.engines import object_store
from tests.support.lake_tables import TOPIC, TableWriter
from tests.support.streams import StreamRig, stream_rig
from tests.support.topics import read_all
from tests.support.waiting import eventually_async

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SYMBOLS = {"binance": "BTCUSDT", "kraken": "BTC/USD", "coinbase": "BTC-USD"}
FAULTS = (("stream_drop", 7), ("stream_duplicate", 3), ("stream_reorder", 5), ("stream_garbage", 11))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with object_store(tmp_path_factory.mktemp("store")) as settings:
        yield settings


@asynccontextmanager
async def recording(base: Settings, store: Settings, home: Path, venue: str, **streams: Any) -> AsyncIterator[StreamRig]:
    """A market, and a stream that records its frames."""
    async with stream_rig(base, home, (venue,), instruments=("BTC", "ETH"), **({"raw": "all", "check_s": 0} | streams)) as rig:
        buckets = {"lake_bucket": store.s3.lake_bucket, "prices_bucket": store.s3.prices_bucket}
        rig.settings = rig.settings.model_copy(update={"s3": store.s3.model_copy(update=buckets)})
        yield rig


async def until(actor: StreamActor, name: str, least: float) -> dict[str, float]:
    """The metrics once `name` is at least so much."""

    async def enough() -> bool:
        return (await actor.probe()).metrics.get(name, 0.0) >= least

    await eventually_async(enough)
    return dict((await actor.probe()).metrics)


async def in_lake(settings: Settings) -> list[Trade]:
    """Write the topic's trades to the table, by the job's own decoder. Returns them."""
    values = await asyncio.to_thread(read_all, settings, settings.kafka.trades_topic)
    done = decode(pa.array(values, pa.binary()), pa.array([time.time_ns() // 1_000_000] * len(values), pa.int64()), TRADES_SPEC, 1 << 20)
    assert not done.bad
    writer, size = TableWriter(settings, "trades"), done.rows.num_rows
    offsets = pa.array(range(writer.next_offset, writer.next_offset + size), pa.int64())
    origin = [pa.repeat(TOPIC, size), pa.repeat(pa.scalar(0, pa.int32()), size), offsets]
    writer.write(pa.table([*done.rows.columns, *origin], TRADES_SPEC.schema))
    return [Trade.from_json(value) for value in values]


async def batches(settings: Settings) -> list[FrameBatch]:
    return [FrameBatch.decode(value) for value in await asyncio.to_thread(read_all, settings, settings.kafka.frames_topic)]


@pytest.mark.parametrize("venue", SYMBOLS)
async def test_recorded_frames_give_the_rows_of_the_lake_and_a_changed_frame_is_found(
    base: Settings, store: Settings, tmp_path: Path, venue: str
) -> None:
    began = datetime.now(UTC)
    async with recording(base, store, tmp_path, venue) as rig:
        actor = rig.actor(venue)
        await actor.start()
        try:
            await until(actor, "published_total", 20)
            for kind, every in FAULTS:
                await rig.fault(venue, kind, every=every)
            await until(actor, "bad_frames_total", 2)
            await until(actor, "duplicates_dropped_total", 3)
            await until(actor, "published_total", 60)
            await rig.heal()
            await rig.fault(venue, "stream_close", code=1006)
            await until(actor, "reconnects_total", 1)
            await rig.heal()
            published = (await actor.probe()).metrics["published_total"]
            await until(actor, "published_total", published + 40)
        finally:
            await actor.stop()
        metrics = (actor._metrics(actor._core, actor._publisher, 0.0)) if actor._core and actor._publisher else {}
        settings, ended = rig.settings, datetime.now(UTC)
        trades = await in_lake(settings)
        streamed = [one for one in trades if one.source == "stream"]
        found = await asyncio.to_thread(replay_frames, settings, venue, began, ended)
        assert (found.ok, found.differences) == (True, [])
        assert (found.equal, found.unrecorded_rows, found.connections) == (len(streamed), 0, 2)
        assert found.copies > 0
        assert (found.frames, found.bad_frames) == (metrics["raw_frames_total"], metrics["bad_frames_total"])
        assert (metrics["raw_frames_lost_total"], found.bad_frames > 0) == (0.0, True)

        recorded = await batches(settings)
        assert all(one.symbols == (SYMBOLS[venue], SYMBOLS[venue].replace("BTC", "ETH")) for one in recorded)
        victim = streamed[len(streamed) // 2]
        changed = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"frames_topic": f"changed-{settings.kafka.frames_topic}"})})
        await asyncio.to_thread(write_changed, changed, recorded, victim)
        other = await asyncio.to_thread(replay_frames, changed, venue, began, ended)
        assert (other.ok, other.equal, other.different, other.missing, other.extra) == (False, len(streamed) - 1, 1, 0, 0)
        assert f" {victim.venue_symbol} {victim.trade_id} size: recorded " in other.differences[0]

        # the first half of the time only, and none before it
        middle = datetime.fromtimestamp(streamed[len(streamed) // 2].ingest_ts / 1e6, UTC)
        half = await asyncio.to_thread(replay_frames, settings, venue, began, middle)
        assert (half.ok, 0 < half.equal < len(streamed), half.unrecorded_rows) == (True, True, 0)
        ever = await asyncio.to_thread(replay_frames, settings, venue, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
        assert (ever.ok, ever.equal) == (True, len(streamed))
        with pytest.raises(QueryError, match=f"no frame of {venue} between .* CRYPTOVIZ_STREAMS__RAW is all"):
            await asyncio.to_thread(replay_frames, settings, venue, began - timedelta(hours=1), began)

        # each row a second time
        await in_lake(settings)
        twice = await asyncio.to_thread(replay_frames, settings, venue, began, ended)
        assert (twice.ok, twice.equal, twice.missing, twice.extra) == (False, len(streamed), 0, 0)
        assert twice.doubled >= len(streamed)


def write_changed(settings: Settings, recorded: list[FrameBatch], victim: Trade) -> None:
    """The same frames in another topic, but for the size of one trade, in the frame that brought it."""
    TopicAdmin(settings.kafka, settings.stream_topics, settings.topic_limits).ensure_topics({})
    out, size = producer(settings.kafka), victim.size.encode()
    hits = 0
    for batch in recorded:
        frames = list(batch.frames)
        for index, (at_us, frame) in enumerate(frames):
            if batch.connection == victim.connection and at_us == victim.ingest_ts:
                assert size in frame
                frames[index] = (at_us, frame.replace(size, b"7" + size))
                hits += 1
        value = FrameBatch(batch.venue, batch.connection, batch.symbols, batch.first, frames).encode()
        out.produce(settings.kafka.frames_topic, value, key=frames_key(batch.venue, batch.connection), timestamp=frames[0][0] // 1_000)
    assert out.flush(20) == 0
    assert hits == 1


def config_of(settings: Settings, topic: str, name: str) -> str:
    admin, resource = admin_client(settings.kafka), ConfigResource(ResourceType.TOPIC, topic)
    return str(admin.describe_configs([resource])[resource].result(10)[name].value)


async def test_trades_go_on_when_kafka_refuses_the_frames(base: Settings, store: Settings, tmp_path: Path) -> None:
    async with recording(base, store, tmp_path, "binance", raw_keep_hours=2) as rig:
        topic = rig.settings.kafka.frames_topic
        assert config_of(rig.settings, topic, "retention.ms") == "7200000"
        limit(rig.settings, topic, 100)
        actor = rig.actor("binance")
        await actor.start()
        try:
            await until(actor, "raw_frames_lost_total", 20)
            probe = await actor.probe()
        finally:
            await actor.stop()
        assert (probe.healthy, probe.degraded, probe.metrics["raw_frames_total"]) == (True, False, 0.0)
        assert await batches(rig.settings) == []
        sources = await rig.check_complete("binance", "BTCUSDT", 5)
        assert sources["refill"] == 0


async def test_nothing_is_recorded_unless_it_is_on(base: Settings, store: Settings, tmp_path: Path) -> None:
    async with recording(base, store, tmp_path, "binance", raw="off") as rig:
        actor = rig.actor("binance")
        await actor.start()
        try:
            metrics = await until(actor, "published_total", 10)
        finally:
            await actor.stop()
        assert "raw_frames_total" not in metrics
        await in_lake(rig.settings)
        with pytest.raises(QueryError, match="CRYPTOVIZ_STREAMS__RAW is off"):
            await asyncio.to_thread(replay_frames, rig.settings, "binance", datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC))
