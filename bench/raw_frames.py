"""What it costs to record the frames of trade streams: processor time and bytes a trade.

    .venv/bin/python -m bench.raw_frames [--trades 100000] [--rounds 3]

Frames of the documented form, of all built-in instruments of a venue with random prices, sizes and times, go through a connection and the core of a
stream's actor, and are recorded in a real Kafka. Their times of arrival are 10 ms apart, so that `sample` leaves out minutes. Rounds without
recording, with a sample and with all alternate, and the fastest of each counts.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from actors.streaming.actor import utc_us
from actors.streaming.frame_producer import FrameProducer
from actors.streaming.frame_recorder import FrameRecorder
from bench.stream_frames import frame, trades_of
from bench.stream_read import read_all
from cryptoviz.clock import SystemClock
from cryptoviz.settings import claim_home, load_settings
from cryptoviz.settings.streams import RawFrames
from cryptoviz.venues.registry import BUILT_IN_VENUES, venue_of
from cryptoviz.venues.spec import Instrument
from tests.support.engines import engine_sections, engines

_FLUSH_S = 60.0
_APART_US = 10_000
_SAMPLE_MIN = 15


def frames_of(venue: str, instruments: Sequence[Instrument], trades: int) -> Iterator[str]:
    """One trade a frame; the numbers of each instrument rise by 1."""
    return (frame(venue, one) for one in trades_of(venue, instruments, trades))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.raw_frames", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trades", type=int, default=100_000, help="in a round (default 100000)")
    parser.add_argument("--rounds", type=int, default=3, help="of each setting (default 3)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cv-frames-") as home:
        streams = {"venues": BUILT_IN_VENUES, "raw": RawFrames.ALL}
        settings = claim_home(load_settings(home=Path(home), log_level="WARNING", streams=streams, kafka=engine_sections()["kafka"]))
        with engines(settings, "kafka") as (kafka,):
            broker_process, log = psutil.Process(kafka.probe().pid), settings.home / "kafka" / "data" / f"{settings.kafka.frames_topic}-0"
            for name in BUILT_IN_VENUES:
                venue = venue_of(name)
                instruments = venue.spec.instruments()
                frames = list(frames_of(name, instruments, given.trades))
                times, broker, stored = ({mode: list[float]() for mode in RawFrames} for _ in range(3))
                for mode in [*RawFrames] * given.rounds:
                    before = _size(log)
                    own, other = time.process_time(), _cpu_s(broker_process)
                    sink = FrameProducer(settings.kafka, name, SystemClock()) if mode is not RawFrames.OFF else None
                    recorder = FrameRecorder(name, mode, _SAMPLE_MIN, sink) if sink is not None else None
                    assert read_all(venue, instruments, frames, _arrivals(), recorder) == given.trades
                    if sink is not None:
                        sink.close(_FLUSH_S)
                        assert sink.lost == 0
                        assert mode is RawFrames.SAMPLE or sink.recorded == given.trades
                    times[mode].append((time.process_time() - own) / given.trades * 1e6)
                    broker[mode].append((_cpu_s(broker_process) - other) / given.trades * 1e6)
                    stored[mode].append((_size(log) - before) / given.trades)
                print(f"{name}: frames of {sum(map(len, frames)) / given.trades:.0f} bytes")
                for mode in RawFrames:
                    figures = f"{min(times[mode]):.1f} us a trade, broker {min(broker[mode]):.1f}, bytes recorded {min(stored[mode]):.1f}"
                    print(f"  {mode:7} {figures}", flush=True)


def _arrivals() -> Callable[[], int]:
    moments = itertools.count(utc_us(), _APART_US)
    return lambda: next(moments)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _size(log: Path) -> int:
    return sum(file.stat().st_size for file in log.glob("*.log"))


if __name__ == "__main__":
    main()
