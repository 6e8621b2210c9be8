"""What it costs to record the frames of trade streams: processor time and bytes a trade.

    .venv/bin/python -m bench.raw_frames [--trades 100000] [--rounds 3]

Frames of the documented form, of all built-in instruments of a venue with random prices, sizes and times, go through a connection and the core of a
stream's actor, and are recorded in a real Kafka. Their times of arrival are 10 ms apart, so that `sample` leaves out minutes. Rounds without
recording, with a sample and with all alternate, and the fastest of each counts.
"""

from __future__ import annotations

import argparse
import itertools
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from actors.streaming.actor import utc_us
from actors.streaming.frame_producer import FrameProducer
from actors.streaming.frame_recorder import FrameRecorder
from bench.stream_read import read_all
from cryptoviz.clock import SystemClock
from cryptoviz.settings import claim_home, load_settings
from cryptoviz.settings.streams import RawFrames
from cryptoviz.venues.registry import BUILT_IN_VENUES, venue_of
from cryptoviz.venues.spec import Instrument
from tests.support.engines import engine_sections, engines

_START_US = 1_767_225_600_000_000
_FLUSH_S = 60.0
_APART_US = 10_000
_SAMPLE_MIN = 15


def frames_of(venue: str, instruments: Sequence[Instrument], trades: int) -> Iterator[str]:
    """One trade a frame; the numbers of each instrument rise by 1."""
    draw, numbers, at_us = random.Random(1), {one.symbol: 1_000_000_000 * place for place, one in enumerate(instruments, 1)}, _START_US
    for index in range(trades):
        symbol = draw.choice(instruments).symbol
        numbers[symbol] += 1
        at_us += draw.randrange(2_000)
        price, size = f"{draw.randrange(10**6, 10**7) / 100:.2f}", f"{draw.randrange(1, 10**8) / 10**8:.8f}"
        buys, number = draw.random() < 0.5, numbers[symbol]
        text = f"2026-01-01T00:{at_us // 60_000_000 % 60:02}:{at_us % 60_000_000 / 1e6:09.6f}Z"
        if venue == "binance":
            yield (
                f'{{"e":"trade","E":{at_us + 500},"s":"{symbol}","t":{number},"p":"{price}000000","q":"{size}","T":{at_us},'
                f'"m":{"false" if buys else "true"},"M":true}}'
            )
        elif venue == "kraken":
            side = "buy" if buys else "sell"
            row = f'{{"symbol":"{symbol}","side":"{side}","price":{price},"qty":{size},"ord_type":"limit","trade_id":{number},"timestamp":"{text}"}}'
            yield f'{{"channel":"trade","type":"update","data":[{row}]}}'
        else:
            orders = [f"{draw.getrandbits(32):08x}-ca53-498f-9c13-{draw.getrandbits(48):012x}" for _ in range(2)]
            yield (
                f'{{"type":"match","trade_id":{number},"maker_order_id":"{orders[0]}","taker_order_id":"{orders[1]}",'
                f'"side":"{"sell" if buys else "buy"}","size":"{size}","price":"{price}",'
                f'"product_id":"{symbol}","sequence":{index * 7},"time":"{text}"}}'
            )


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
