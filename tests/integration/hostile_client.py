"""Collection with one hostile provider, in a separate process whose memory is measured: `python -m tests.integration.hostile_client`.

Reads JSON from standard input: `kinds` (name -> base address of CoinGecko), `others` (provider -> base address), `ticks` of each kind that are whole
and in time (within `latest_ms`), however many others a busy machine makes meanwhile. Prints one line of JSON per kind: outcomes of CoinGecko's raw
exchanges, providers of those ticks' prices with reasons, and the peak growth of resident memory since the end of the first kind, which warms up the
process.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import psutil

from actors.collecting.core import CollectorCore
from actors.fetching.build import build_provider
from actors.fetching.hold_off import HoldOff
from actors.publishing.transaction import KafkaTransaction
from actors.scraping.poll_scheduler import PollRules, PollScheduler
from cryptoviz.clock import SystemClock
from cryptoviz.log import configure_logging
from cryptoviz.records import RawExchange
from cryptoviz.settings import load_settings
from tests.support.collection_fakes import FakeSnapshot
from tests.support.waiting import eventually_async

TICK_S = 1.0
MB = 1024 * 1024


def resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


class Memory:
    """Peak resident memory of this process, sampled every 5 ms."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._stop = threading.Event()
        self.peak = resident()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.peak = max(self.peak, self._process.memory_info().rss)

    def stop(self) -> int:
        self._stop.set()
        self._thread.join()
        return self.peak


class Published:
    """The collector's ticks with their time of arrival."""

    def __init__(self, clock: SystemClock) -> None:
        self._clock = clock
        self.transactions: list[KafkaTransaction] = []
        self.after_ms: list[int] = []

    def offer(self, transaction: KafkaTransaction) -> None:
        self.transactions.append(transaction)
        self.after_ms.append(self._clock.now_ms() - transaction.tick_ts)

    def good(self, assets: int, latest_ms: int) -> list[KafkaTransaction]:
        """The ticks that were closed in time with all prices, those of the first two providers."""
        return [
            each
            for each, after_ms in zip(self.transactions, self.after_ms, strict=True)
            if len(each.messages) == assets and after_ms < latest_ms and {one["provider"] for one in records_of(each)} <= FIRST
        ]


FIRST = {"coingecko", "coinmarketcap"}


def records_of(transaction: KafkaTransaction) -> list[dict[str, Any]]:
    return [orjson.loads(message.value) for message in transaction.messages]


async def suffer(name: str, address: str, order: dict[str, Any], home: Path) -> dict[str, Any]:
    others, ticks, latest_ms = order["others"], int(order["ticks"]), int(order["latest_ms"])
    clock = SystemClock()
    bases = {"coingecko": address, **others}
    providers = {provider: {"base_url": base, "rate_limit_wait_s": 0.1} for provider, base in bases.items()}
    settings = load_settings(home=home, collect={"tick_s": TICK_S, "providers": list(bases)}, providers=providers)
    published, exchanges = Published(clock), list[RawExchange]()
    core = CollectorCore(settings, clock, published, FakeSnapshot())
    made = {provider: build_provider(provider, settings, clock, exchanges.append) for provider in bases}
    rules = PollRules(settings.collect.tick_ms, 0.1, 0.1)
    loops = [PollScheduler(provider, settings.assets, rules, HoldOff(), clock, core.submit) for provider in made.values()]
    memory = Memory()
    tasks = [asyncio.create_task(work) for work in (*(loop.run() for loop in loops), core.run())]

    async def enough() -> bool:
        return len(published.good(len(settings.assets), latest_ms)) >= ticks

    try:
        await eventually_async(enough, 120)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for provider in made.values():
            await provider.aclose()
    good = published.good(len(settings.assets), latest_ms)
    records = [record for transaction in good for record in records_of(transaction)]
    # The first tick may have begun before the loops did.
    own = [exchange for exchange in exchanges if exchange.provider == "coingecko"]
    return {
        "kind": name,
        "peak": memory.stop(),
        "outcomes": sorted({exchange.outcome for exchange in own}),
        "errors": sorted({exchange.error or "" for exchange in own}),
        "others_ok": sorted({exchange.provider for exchange in exchanges if exchange.provider != "coingecko" and exchange.outcome == "ok"}),
        "good_ticks": len(good),
        "sources": sorted({(record["provider"], record["fallback_reason"] or "") for record in records}),
    }


async def run(order: dict[str, Any]) -> None:
    with TemporaryDirectory() as home:
        usual: int | None = None
        for name, address in order["kinds"].items():
            found = await suffer(name, address, order, Path(home))
            usual = usual or resident()
            print(json.dumps(found | {"grown_mb": (found["peak"] - usual) / MB}), flush=True)


if __name__ == "__main__":
    configure_logging("ERROR")
    asyncio.run(run(json.loads(sys.stdin.read())))
