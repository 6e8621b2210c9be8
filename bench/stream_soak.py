"""A long run of trade streams against the replay market that misbehaves at random (`make soak-streams`).

Three venues of the market, their stream actors and the lake job on Ray, with real engines. Rounds of random faults until the time is over: one or two
venues at once drop, repeat, reorder, pad or cut frames, close or hold connections, halt, jump, refuse or limit; a stream's actor or the lake's is
killed; Kafka or the object store is stopped for a while. After each round, the time until no gap is open and every venue has delivered.

At the end, by two readers: from the first to the last recorded trade of each symbol, the lake has each of the market's once, with its values, but for
those that the gap ledger gives up: trades that the market no longer gave (`too_old`), and ids that it never used (`not_at_venue`). Candles are the
market's own. Exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import ray.exceptions

from actors.streaming.actor import StreamActor
from cryptoviz.engines.build import Engine
from cryptoviz.settings import claim_home, load_settings
from market.server import MarketConfig, ReplayMarket
from tests.chaos.pipeline_rig import stopped
from tests.chaos.rig import Keeper
from tests.support.engines import engine_sections, engines
from tests.support.lake_job import LakeHost, caught_up, host_lake, ray_cluster
from tests.support.lake_readers import READERS
from tests.support.market_lake import MARKET_SYMBOLS, TradeKey, call, complete, published, same_candles, same_ledger, same_trades, started
from tests.support.measure import load, machine, say
from tests.support.ports import free_port
from tests.support.streams import StreamRig, venue_sections
from tests.support.waiting import eventually_async

TRADES_PER_S = 5.0
RECOVERY_S = 240.0
MARKET_FAULTS: Mapping[str, Callable[[random.Random], dict[str, Any]]] = {
    "stream_drop": lambda chance: {"every": chance.randint(2, 20)},
    "stream_duplicate": lambda chance: {"every": chance.randint(2, 20)},
    "stream_reorder": lambda chance: {"every": chance.randint(2, 20)},
    "stream_garbage": lambda chance: {"every": chance.randint(2, 20)},
    "stream_truncated": lambda chance: {"every": chance.randint(2, 20)},
    "stream_huge": lambda chance: {"every": 50, "size_bytes": chance.choice((100_000, 3_000_000))},
    "stream_silent": lambda _: {},
    "stream_refused": lambda _: {},
    "stream_max_age": lambda chance: {"seconds": chance.uniform(2, 10)},
    "stream_slow_reader": lambda _: {"buffer_bytes": 4_096},
    "refill_late": lambda chance: {"seconds": chance.uniform(1, 5)},
    "refill_short": lambda chance: {"seconds": chance.uniform(3, 20)},
    "refill_limited": lambda _: {},
    "stream_half_open": lambda _: {},
    "stream_close": lambda chance: {"code": chance.choice((1000, 1001, 1006, 1011))},
    "stream_shutdown": lambda chance: {"announce_s": chance.uniform(0, 5)},
    "stream_maintenance": lambda chance: {"announce_s": chance.uniform(0, 3), "down_s": chance.uniform(1, 10)},
    "trade_rate": lambda chance: {"per_s": chance.choice((0, 30))},
    "trade_id_jump": lambda chance: {"by": chance.choice((10, 1_000))},
}

Fault = Callable[[], Awaitable[None]]


@dataclass
class StreamSoak:
    """The running parts, and the faults that can be made."""

    rig: StreamRig
    ray: Any
    actors: Mapping[str, Any]
    lake: LakeHost
    engines: Sequence[Engine]
    chance: random.Random

    def faults(self) -> dict[str, Fault]:
        """By name, one of each kind."""
        found: dict[str, Fault] = {name: self._market(name) for name in MARKET_FAULTS}
        found |= {f"kill {venue}": self._kill(actor) for venue, actor in self.actors.items()}
        found["kill lake"] = self._kill(self.lake.actor)
        found |= {f"stop {engine.name}": self._stop(engine) for engine in self.engines}
        return found

    def _market(self, name: str) -> Fault:
        async def misbehave() -> None:
            for venue in self.chance.sample(sorted(self.actors), self.chance.choice((1, 1, 2))):
                await self.rig.fault(venue, name, **MARKET_FAULTS[name](self.chance))
            await self._pause(2, 15)

        return misbehave

    def _kill(self, actor: Any) -> Fault:
        async def kill() -> None:
            pid = (await call(self.ray, actor.probe)).pid
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

        return kill

    def _stop(self, engine: Engine) -> Fault:
        async def stop() -> None:
            assert engine.pid is not None
            with stopped(psutil.Process(engine.pid)):
                await self._pause(2, 40)

        return stop

    async def _pause(self, least_s: float, most_s: float) -> None:
        await asyncio.sleep(self.chance.uniform(least_s, most_s))

    async def recover(self) -> None:
        """Wait until every venue delivers and no gap is open."""
        await self.rig.heal()
        for actor in self.actors.values():
            await eventually_async(lambda actor=actor: self._runs(actor), RECOVERY_S, every_s=0.5)  # type: ignore[misc]
        await published(self.ray, self.actors, 10, RECOVERY_S)
        await complete(self.ray, self.actors, RECOVERY_S)

    async def _runs(self, actor: Any) -> bool:
        try:
            probe = await call(self.ray, actor.probe)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            return False
        return bool(probe.running) or await started(self.ray, actor)

    async def run(self, seconds: float) -> None:
        """Make faults until the time is over; one, two or three at a time, each kind before any of them again."""
        faults, waiting, took = self.faults(), list[str](), list[tuple[float, str]]()
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            if not waiting:
                waiting = self.chance.sample(sorted(faults), len(faults))
            names = [waiting.pop() for _ in range(min(len(waiting), self.chance.choice((1, 1, 2, 3))))]
            await asyncio.gather(*(faults[name]() for name in names))
            begun = time.monotonic()
            await self.recover()
            took.append((round(time.monotonic() - begun, 1), " + ".join(names)))
            say("complete again after {} s: {}, load {}".format(*took[-1], load()))
            await self._pause(0, 3)
        say(f"{len(took)} rounds; longest until complete again:", sorted(took)[-5:])


async def compare(rig: StreamRig) -> None:
    """Lake against market, by two readers."""
    given_up = await asyncio.to_thread(same_ledger, rig.settings)
    assert given_up.keys() <= {"too_old", "not_at_venue"}, given_up.keys()
    missing: set[TradeKey] = set().union(*given_up.values())
    for stored in (reader(rig.settings, "trades").to_pylist() for reader in READERS):
        await same_trades(rig, stored, missing)
    never = given_up.get("not_at_venue", set())
    for venue, symbols in MARKET_SYMBOLS.items():
        for symbol in symbols:
            ids = [number for at, of, number in never if (at, of) == (venue, symbol)]
            assert not ids or not set(ids) & (await rig.made(venue, symbol, min(ids), max(ids))).keys()
    say("given up, by reason:", {reason: len(ids) for reason, ids in given_up.items()})
    await same_candles(rig)


async def soak(home: Path, seconds: float, seed: int) -> None:
    """The whole run.

    Raises:
        AssertionError: a trade is lost, doubled or different, or a round did not recover.
    """
    async with ReplayMarket(MarketConfig(trades_per_s=TRADES_PER_S)) as market, httpx.AsyncClient(base_url=market.url, timeout=60) as http:
        sections = engine_sections() | venue_sections(market, MARKET_SYMBOLS, instruments=("BTC", "ETH"))
        settings = claim_home(load_settings(home=home, log_level="WARNING", lake={"ui_port": free_port()}, **sections))
        with engines(settings) as running, ray_cluster() as cluster:
            kind = cluster.remote(StreamActor)
            actors = {venue: kind.options(name=venue, num_cpus=0, max_restarts=-1).remote(settings, venue) for venue in MARKET_SYMBOLS}
            for actor in actors.values():
                await call(cluster, actor.start)
            lake = host_lake(cluster, settings)
            await asyncio.to_thread(lake.start)
            rig = StreamRig(settings, market, http)
            with Keeper(lake):
                await StreamSoak(rig, cluster, actors, lake, running, random.Random(seed)).run(seconds)
                for actor in actors.values():
                    await call(cluster, actor.stop)
                report = await asyncio.to_thread(caught_up, settings, RECOVERY_S, settings.kafka.trades_topic)
                assert report.ok, report.to_text()
            say(report.to_text())
            await asyncio.to_thread(lake.stop)
            await compare(rig)


def main() -> int:
    """0: nothing is lost, doubled or different."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    chosen = parser.parse_args()
    say(f"{machine()}, load {load()}, {chosen.minutes} minutes, seed {chosen.seed}")
    with tempfile.TemporaryDirectory() as home:
        asyncio.run(soak(Path(home), chosen.minutes * 60, chosen.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
