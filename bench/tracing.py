"""What traces of ticks cost: processor time of scrapers and collector a tick, with tracing off, on, and on with a receiver that does not answer.

`python -m bench.tracing`. Two scrapers, collector and replay market run in this process, with a real Kafka and Redis; the receiver is another
process. The ways take turns. Prints a Markdown table: medians of the rounds, and the range.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from cryptoviz.log import configure_logging
from cryptoviz.settings import Settings, TracingSettings
from market.server import ReplayMarket
from tests.support.collection import PROVIDERS, Collection, settings_for
from tests.support.engines import kafka_and_redis
from tests.support.measure import load, machine, say
from tests.support.otlp import end_tracing, otlp_receiver

TICK_S = 0.5
WARM_TICKS = 5
NOBODY = "http://127.0.0.1:9"


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m bench.tracing", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--ticks", type=int, default=30)
    given = arguments.parse_args()
    configure_logging("ERROR")
    with tempfile.TemporaryDirectory(prefix="cv-bench-") as home, kafka_and_redis(Path(home)) as engines, receiver() as endpoint:
        ways = {"off": "", "on": endpoint, "on, receiver away": NOBODY}
        found: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(given.rounds):
            for way, address in ways.items():
                found[way].append(asyncio.run(tick_ms(engines.settings, Path(home) / f"{number}-{len(way)}", address, given.ticks)))
    say(f"{machine()}; load {load()}; {given.rounds} rounds of {given.ticks} ticks, 17 coins, {len(PROVIDERS)} providers\n")
    say("| tracing | processor time a tick, ms | range |\n|---|---|---|")
    for way, figures in found.items():
        say(f"| {way} | {statistics.median(figures):.1f} | {min(figures):.1f} to {max(figures):.1f} |")


async def tick_ms(base: Settings, home: Path, endpoint: str, ticks: int) -> float:
    """Processor time of this process a tick."""
    end_tracing()  # each way is a process of its own in a pipeline
    async with ReplayMarket() as market:
        settings = settings_for(base, home, {name: market.base_url(name) for name in PROVIDERS}, tick_s=TICK_S)
        running = Collection(settings.model_copy(update={"tracing": TracingSettings(endpoint=endpoint)}), market)
        await running.start()
        try:
            await running.published(WARM_TICKS)
            begun, before = time.process_time(), await running.metric("ticks_published_total")
            await running.published(ticks, timeout_s=10 * ticks * TICK_S)
            return 1000 * (time.process_time() - begun) / (await running.metric("ticks_published_total") - before)
        finally:
            await running.stop()


@contextmanager
def receiver() -> Iterator[str]:
    """Address of a receiver in another process."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_receive, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send("")
        process.join(10)


def _receive(pipe: Connection) -> None:
    with otlp_receiver() as found:
        pipe.send(found.endpoint)
        pipe.recv()


if __name__ == "__main__":
    main()
