"""Frames are recorded as they are, in batches without a hole; what is not recorded is counted, and nothing waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from actors.streaming.frame_producer import FrameProducer
from actors.streaming.frame_recorder import BATCH_BYTES, FLUSH_S, FrameRecorder
from cryptoviz.errors import RecordError
from cryptoviz.settings import load_settings
from cryptoviz.settings.streams import RawFrames
from cryptoviz.venues.frames import FrameBatch
from tests.support.clock import FakeClock
from tests.support.waiting import eventually_async

MINUTE_US = 60_000_000
START_US = 1_764_000_000_000_000 // (60 * MINUTE_US) * 60 * MINUTE_US
"""The start of an hour."""


@dataclass
class Sink:
    """`FrameSink` that keeps all."""

    batches: list[FrameBatch] = field(default_factory=list)
    put_: list[tuple[bytes, int]] = field(default_factory=list)
    recorded: int = 0
    lost: int = 0
    polls: int = 0

    def put(self, key: bytes, value: bytes, at_ms: int, frames: int) -> None:
        self.batches.append(FrameBatch.decode(value))
        self.put_.append((key, at_ms))
        assert len(self.batches[-1].frames) == frames
        self.recorded += frames

    def poll(self) -> None:
        self.polls += 1

    def close(self, timeout_s: float) -> None:
        del timeout_s

    @property
    def frames(self) -> list[tuple[int, bytes]]:
        return [frame for batch in self.batches for frame in batch.frames]


def recorder(mode: RawFrames = RawFrames.ALL, sample_min: int = 15) -> tuple[FrameRecorder, Sink]:
    sink = Sink()
    return FrameRecorder("binance", mode, sample_min, sink), sink


def test_frames_are_kept_as_they_are_with_their_arrival() -> None:
    one, sink = recorder()
    frames = one.of("c1", ["BTCUSDT"])
    sent: list[bytes | str] = ['{"price": 1.50}\n', b"\x00\xff", "", "Ω…"]
    for number, frame in enumerate(sent):
        frames.add(frame, START_US + number)
    frames.close()
    kept = [b'{"price": 1.50}\n', b"\x00\xff", b"", "Ω…".encode()]
    assert sink.batches == [FrameBatch("binance", "c1", ("BTCUSDT",), 0, [(START_US + number, frame) for number, frame in enumerate(kept)])]
    assert sink.put_ == [(b"binance:c1", START_US // 1_000)]
    assert one.metrics() == {"raw_frames_total": 4.0, "raw_frames_lost_total": 0.0}


def test_successive_batches_have_every_frame_once() -> None:
    one, sink = recorder()
    frames = one.of("c1", [])
    for number in range(1_000):
        frames.add("x" * 1_000, START_US + number)
    frames.flush()
    frames.flush()
    assert [batch.first for batch in sink.batches] == [0, 263, 526, 789]
    assert [at_us for at_us, _ in sink.frames] == [START_US + number for number in range(1_000)]


def test_a_huge_frame_is_a_batch_of_its_own() -> None:
    one, sink = recorder()
    frames = one.of("c1", [])
    for frame in ("a", "b" * BATCH_BYTES, "c"):
        frames.add(frame, START_US)
    frames.close()
    assert [(batch.first, len(batch.frames)) for batch in sink.batches] == [(0, 1), (1, 1), (2, 1)]


def test_a_sample_has_whole_minutes_and_the_first_one_of_each_connection() -> None:
    one, sink = recorder(RawFrames.SAMPLE, sample_min=15)
    frames = one.of("c1", [])
    began_us = START_US + 20_000_000
    for second in range(31 * 60):
        frames.add(str(second), began_us + second * 1_000_000)
    frames.close()
    minutes = {(at_us - START_US) // MINUTE_US for at_us, _ in sink.frames}
    assert minutes == {0, 1, 15, 30}
    whole = [at_us for at_us, _ in sink.frames if (at_us - START_US) // MINUTE_US == 15]
    assert len(whole) == 60
    # the numbers count frames that are not recorded too
    assert all(int(frame) == batch.first + index for batch in sink.batches for index, (_, frame) in enumerate(batch.frames))


def test_a_clock_that_steps_back_is_judged_again() -> None:
    one, sink = recorder(RawFrames.SAMPLE, sample_min=2)
    frames = one.of("c1", [])
    for at_us in (START_US, START_US + 3 * MINUTE_US, START_US + 2 * MINUTE_US + 1):
        frames.add("x", at_us)
    frames.close()
    assert [at_us for at_us, _ in sink.frames] == [START_US, START_US + 2 * MINUTE_US + 1]


async def test_what_waits_is_handed_over_every_two_seconds_and_ended_connections_are_forgotten() -> None:
    one, sink = recorder()
    clock = FakeClock()
    first, second = one.of("c1", []), one.of("c2", [])
    first.add("1", START_US)
    second.add("2", START_US)
    second.close()
    task = asyncio.create_task(one.run(clock))

    async def twice() -> bool:
        return sink.polls >= 2

    await eventually_async(twice, every_s=0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert clock.slept[0] == FLUSH_S
    assert [(batch.connection, len(batch.frames)) for batch in sink.batches] == [("c2", 1), ("c1", 1)]
    assert list(one._connections) == ["c1"]


@pytest.mark.parametrize("value", [b"", b"{}", b"\xc1", b"\x95\xa1v\xa1c\x90\x00\x91\x92\x01\x02"], ids=["empty", "json", "reserved", "number"])
def test_what_is_no_batch_is_refused(value: bytes) -> None:
    with pytest.raises(RecordError, match="recorded frames cannot be decoded"):
        FrameBatch.decode(value)


class Client:
    """A librdkafka producer: `full` as when its queue is, `refuses` as when the broker does."""

    def __init__(self) -> None:
        self.full = False
        self.too_large = False
        self.refuses = False
        self.waiting: list[Callable[[object, object], None]] = []
        self.purged = False
        self.sent: list[tuple[str, bytes, bytes, int]] = []

    def produce(self, topic: str, value: bytes, *, key: bytes, timestamp: int, on_delivery: Callable[[object, object], None]) -> None:
        if self.full:
            raise BufferError("Local: Queue full")
        if self.too_large:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        self.sent.append((topic, key, value, timestamp))
        self.waiting.append(on_delivery)

    def poll(self, timeout_s: float) -> None:
        assert timeout_s == 0
        waiting, self.waiting = self.waiting, []
        for delivered in waiting:
            delivered(KafkaError(KafkaError._MSG_TIMED_OUT) if self.refuses else None, None)

    def purge(self) -> None:
        self.purged = self.refuses = True

    def flush(self, timeout_s: float) -> int:
        if self.purged:
            self.poll(0)
        return 0


def producer(tmp_path: Path) -> tuple[FrameProducer, Client]:
    client: Any = Client()
    return FrameProducer(load_settings(home=tmp_path).kafka, "binance", FakeClock(), client), client


def test_each_frame_is_recorded_or_counted_as_lost(tmp_path: Path) -> None:
    one, client = producer(tmp_path)
    one.put(b"k", b"v", 5, 10)
    assert (client.sent, one.recorded, one.lost) == ([("crypto-frames", b"k", b"v", 5)], 10, 0)
    client.refuses = True
    one.put(b"k", b"v", 5, 3)
    client.refuses, client.full = False, True
    one.put(b"k", b"v", 5, 4)
    client.full, client.too_large = False, True
    one.put(b"k", b"v", 5, 1)
    assert (one.recorded, one.lost) == (10, 8)
    client.too_large = False
    one.put(b"k", b"v", 5, 2)
    assert (one.recorded, one.lost) == (12, 8)


def test_what_kafka_has_not_taken_at_the_end_is_lost(tmp_path: Path) -> None:
    one, client = producer(tmp_path)
    one._client.produce("t", b"v", key=b"k", timestamp=1, on_delivery=lambda error, _: one._lose(7, "") if error else None)
    one.close(0.1)
    assert (client.purged, one.lost) == (True, 7)


def test_losses_are_logged_once_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr("actors.streaming.frame_producer.log.warning", lambda _, **line: lines.append(line))
    clock, client = FakeClock(), Client()
    one = FrameProducer(load_settings(home=tmp_path).kafka, "binance", clock, client)
    client.full = True
    for _ in range(3):
        one.put(b"k", b"v", 5, 1)
    clock.advance(60)
    one.put(b"k", b"v", 5, 1)
    assert [line["frames"] for line in lines] == [1, 4]
