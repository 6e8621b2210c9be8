"""The speed of collection (`make bench-collect`): 10 000 assets a tick on one core, and the way from response to Kafka's acknowledgement.

- a tick of 10 000 assets: the bodies of CoinGecko (40 pages of 250) and CoinMarketCap (100 pages of 100) through the parsers, the collector's choice
  and encoding, and one transaction on a real Kafka that the script starts. This process is bound to one core; Kafka may use all.
- response to acknowledgement: 17 assets of both providers, tick after tick, from two complete bodies to the event that the broker has the tick; in
  one process, and as the pipeline does it, with each scraper and the collector in an actor of Ray.
- parsers: ours (strict JSON, no repeated keys, checked values) beside pydantic models of the same fields and ccxt's parser, which knows Binance only.
  ccxt is no dependency, because it pins older versions of packages that others here need. It is compared with where it can be imported:
  `uv pip install --no-deps --target /tmp/ccxt ccxt && PYTHONPATH=/tmp/ccxt make bench-collect`.

Prints a Markdown table; `--json FILE` keeps the figures, `--profile` shows where a tick's time goes.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import importlib
import json
import os
import platform
import pstats
import random
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from collect_hop import ray_of_two, through_ray
from pydantic import BaseModel, TypeAdapter

from actors.batch import Batch
from actors.collecting import Collecting
from actors.kafka import KafkaTransport, SeenTicks
from actors.providers.binance import parse_tickers
from actors.providers.coingecko import parse_markets
from actors.providers.coinmarketcap import parse_quotes
from actors.providers.http import HttpResponse
from actors.providers.parsed import Parsed
from actors.publisher import Publisher
from cryptoviz.assets import Asset
from cryptoviz.clock import SystemClock
from cryptoviz.log import configure_logging
from cryptoviz.records import TickResult
from cryptoviz.services.engines import build_engine
from cryptoviz.services.topics import TopicAdmin
from cryptoviz.settings import Settings, load_settings

ASSETS = 10_000
GOAL_TICK_S = 2.0
GOAL_ACK_MS = 50.0
TICK_MS = 60_000
Parser = Callable[[HttpResponse, Mapping[str, str]], Parsed]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    arguments.add_argument("--json", type=Path, help="write the figures here, too")
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--ticks", type=int, default=300, help="ticks of 17 assets")
    arguments.add_argument("--profile", action="store_true")
    given = arguments.parse_args()
    configure_logging("WARNING")
    with tempfile.TemporaryDirectory(prefix="cv-bench-") as home, kafka(Path(home)) as settings:
        hop_ms = acknowledgements_through_ray(settings, given.ticks)
        # Kafka is started: from here on, this process and its threads have one core.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        figures = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "load": " ".join(f"{value:.1f}" for value in os.getloadavg()),
            "tick": whole_tick(settings, given.rounds, profile=given.profile),
            "ack_ms": acknowledgements(settings, given.ticks),
            "ack_through_ray_ms": hop_ms,
            "parsers": parsers(given.rounds),
        }
    report(figures)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


@contextlib.contextmanager
def kafka(home: Path) -> Iterator[Settings]:
    """A broker of its own."""
    ports = [free_port(), free_port()]
    settings = load_settings(home=home, kafka={"port": ports[0], "controller_port": ports[1]}, redis={"port": 1})
    engine = build_engine("kafka", settings)
    try:
        engine.start()
        TopicAdmin(settings.kafka).ensure_topics({})
        yield settings
    finally:
        engine.stop()


def free_port() -> int:
    """A port below those that the system gives to connections."""
    while True:
        port = random.randint(20_000, 30_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


# --- bodies ---


def assets(count: int) -> list[Asset]:
    ids = ({"coingecko": f"coin-{n}", "coinmarketcap": str(n + 1), "binance": f"C{n}USDT"} for n in range(count))
    return [Asset(f"coin-{n}", f"C{n}", f"Coin {n}", provider_ids) for n, provider_ids in enumerate(ids)]


def coingecko_coin(n: int, stamp: str) -> dict[str, Any]:
    price = 1.5 + n / 7
    return {
        "id": f"coin-{n}", "symbol": f"c{n}", "name": f"Coin {n}", "image": f"https://assets.example/coins/images/{n}/large/coin.png?1696501400",
        "current_price": price, "market_cap": price * 1e6, "market_cap_rank": n + 1, "fully_diluted_valuation": price * 2e6,
        "total_volume": price * 1e4, "high_24h": price * 1.01, "low_24h": price * 0.99, "price_change_24h": -0.0123456789,
        "price_change_percentage_24h": -0.98765, "market_cap_change_24h": -12345.6789, "market_cap_change_percentage_24h": -0.98,
        "circulating_supply": 1e6, "total_supply": 2e6, "max_supply": None, "ath": price * 9, "ath_change_percentage": -88.9,
        "ath_date": "2021-11-10T14:24:11.849Z", "atl": price / 99, "atl_change_percentage": 9800.1, "atl_date": "2013-07-06T00:00:00.000Z",
        "roi": None, "last_updated": stamp, "price_change_percentage_1h_in_currency": 0.12345, "price_change_percentage_24h_in_currency": -0.98765,
        "price_change_percentage_7d_in_currency": 3.21,
    }  # fmt: skip


def coinmarketcap_coin(n: int, stamp: str) -> dict[str, Any]:
    price = 1.5 + n / 7
    quote = {
        "id": 2781, "symbol": "USD", "price": price, "volume_24h": price * 1e4, "volume_change_24h": 1.2345, "percent_change_1h": 0.12345,
        "percent_change_24h": -0.98765, "percent_change_7d": 3.21, "percent_change_30d": 4.5, "percent_change_60d": 5.6, "percent_change_90d": 6.7,
        "market_cap": price * 1e6, "market_cap_dominance": 0.01, "fully_diluted_market_cap": price * 2e6, "last_updated": stamp,
    }  # fmt: skip
    return {
        "id": n + 1, "name": f"Coin {n}", "symbol": f"C{n}", "slug": f"coin-{n}", "cmc_rank": n + 1, "num_market_pairs": 100,
        "circulating_supply": 1e6, "total_supply": 2e6, "max_supply": None, "infinite_supply": False, "date_added": "2013-04-28T00:00:00.000Z",
        "last_updated": stamp, "tags": ["mineable", "pow", "store-of-value"], "platform": None, "quote": [quote],
    }  # fmt: skip


def binance_row(n: int, now_ms: int) -> dict[str, Any]:
    price = f"{1.5 + n / 7:.8f}"
    return {
        "symbol": f"C{n}USDT", "priceChange": "-0.01234500", "priceChangePercent": "-0.988", "weightedAvgPrice": price, "prevClosePrice": price,
        "lastPrice": price, "lastQty": "0.00200000", "bidPrice": price, "bidQty": "1.20000000", "askPrice": price, "askQty": "0.90000000",
        "openPrice": price, "highPrice": price, "lowPrice": price, "volume": "12345.67890000", "quoteVolume": "771733056.12345678",
        "openTime": now_ms - 86_400_000, "closeTime": now_ms, "firstId": 28385, "lastId": 28460, "count": 76,
    }  # fmt: skip


def pages(items: list[dict[str, Any]], size: int, wrap: Callable[[Any], Any]) -> list[bytes]:
    return [orjson.dumps(wrap(items[start : start + size])) for start in range(0, len(items), size)]


def bodies(count: int) -> dict[str, list[bytes]]:
    """By provider, the bodies of one tick."""
    stamps = [datetime.now(UTC).strftime(f"%Y-%m-%dT%H:%M:%S.{n:03d}Z") for n in range(1000)]
    status = {"timestamp": stamps[0], "error_code": 0, "error_message": None, "elapsed": 10, "credit_count": 1, "notice": None}
    return {
        "coingecko": pages([coingecko_coin(n, stamps[n % 1000]) for n in range(count)], 250, lambda coins: coins),
        "coinmarketcap": pages([coinmarketcap_coin(n, stamps[n % 1000]) for n in range(count)], 100, lambda coins: {"status": status, "data": coins}),
    }


def parse(provider: str, parser: Parser, found: list[bytes], ids: Mapping[str, str], tick_ts: int, now_ms: int) -> TickResult:
    """What a scraper makes of a tick's bodies. Each page knows its own ids, as a provider class passes them."""
    size, names = -(-len(ids) // len(found)), list(ids.items())
    observations = {}
    for page, body in enumerate(found):
        parsed = parser(HttpResponse(200, {}, body, now_ms), dict(names[page * size : (page + 1) * size]))
        observations |= {observation.asset_id: observation for observation in parsed.observations}
    return TickResult(provider, tick_ts, "f" * 32, 1, now_ms, observations)


PARSERS: dict[str, Parser] = {"coingecko": parse_markets, "coinmarketcap": parse_quotes}


# --- the tick ---


class Ticks:
    """The collector's clock: it stands where the bench puts it."""

    def __init__(self) -> None:
        now = SystemClock().now_ms()
        self.now = now - now % TICK_MS

    def now_ms(self) -> int:
        """Where it stands (UTC epoch ms)."""
        return self.now

    def monotonic_s(self) -> float:
        """The same in seconds."""
        return self.now / 1000

    async def sleep(self, seconds: float) -> None:
        """Steps on."""
        self.now += round(seconds * 1000)


class Kept:
    """Takes the collector's batch; a snapshot that goes nowhere."""

    def __init__(self) -> None:
        self.batch: Batch | None = None

    def offer(self, batch: Batch) -> None:
        """Keep it."""
        self.batch = batch

    def set_latest(self, batch: Batch) -> None:
        """Nothing."""

    def set_providers(self, states: Mapping[str, bytes]) -> None:
        """Nothing."""

    def count_gaps(self, asset_ids: Mapping[str, int]) -> None:
        """Nothing."""


def collected(settings: Settings, clock: Ticks, kept: Kept, results: list[TickResult]) -> Batch:
    collecting = Collecting(settings, clock, kept, kept)
    for result in results:
        collecting.submit(result)
    collecting.publish_due()
    if kept.batch is None:
        raise SystemExit("the tick was not closed")
    return kept.batch


def with_assets(settings: Settings, listed: list[Asset]) -> Settings:
    extra = [{"asset_id": a.asset_id, "symbol": a.symbol, "name": a.name, "provider_ids": a.provider_ids} for a in listed]
    kafka_settings = {"bootstrap_servers": settings.kafka.bootstrap_servers}
    return load_settings(home=settings.home, kafka=kafka_settings, extra_assets=extra, crypto_list=[a.asset_id for a in listed])


def whole_tick(base: Settings, rounds: int, *, profile: bool) -> dict[str, float]:
    """Median seconds of each step; `cpu` is this process' own time."""
    listed = assets(ASSETS)
    settings = with_assets(base, listed)
    found = bodies(ASSETS)
    ids = {name: {asset.provider_ids[name]: asset.asset_id for asset in listed} for name in PARSERS}
    transport = KafkaTransport(settings.kafka, settings.kafka.stream_topic, "bench-tick", SeenTicks())
    transport.connect()
    clock, steps = Ticks(), {"parse": [], "collect": [], "publish": [], "tick": [], "cpu": []}
    profiler = cProfile.Profile()
    for _ in range(rounds):
        clock.now += TICK_MS
        begun_cpu, begun = time.process_time(), time.perf_counter()
        if profile:
            profiler.enable()
        results = [parse(name, parser, found[name], ids[name], clock.now, clock.now) for name, parser in PARSERS.items()]
        parsed = time.perf_counter()
        batch = collected(settings, clock, Kept(), results)
        made = time.perf_counter()
        transport.publish(batch)
        ended = time.perf_counter()
        profiler.disable()
        if len(batch.messages) != ASSETS:
            raise SystemExit(f"{len(batch.messages)} records instead of {ASSETS}")
        for name, value in (("parse", parsed - begun), ("collect", made - parsed), ("publish", ended - made), ("tick", ended - begun)):
            steps[name].append(value)
        steps["cpu"].append(time.process_time() - begun_cpu)
    transport.close()
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    return {name: statistics.median(values) for name, values in steps.items()} | {"slowest": max(steps["tick"]), "rounds": rounds}


# --- 17 assets, from the response to the acknowledgement ---


class Acknowledged:
    """The publisher's events; `published` is told from its thread."""

    def __init__(self) -> None:
        self.done = threading.Event()

    def published(self, batch: Batch) -> None:
        """The broker has the tick."""
        del batch
        self.done.set()

    def dropped(self, batch: Batch) -> None:
        """Never, with one tick at a time."""
        raise SystemExit(f"{batch.identity} was dropped")

    def connected(self, last_tick_ts: int | None) -> None:
        """The first tick may go."""
        del last_tick_ts
        self.done.set()


def acknowledgements(base: Settings, ticks: int) -> dict[str, float]:
    """Milliseconds from two complete bodies to the broker's acknowledgement."""
    listed = assets(17)
    settings = with_assets(base, listed)
    found = bodies(17)
    ids = {name: {asset.provider_ids[name]: asset.asset_id for asset in listed} for name in PARSERS}
    events, clock, kept = Acknowledged(), Ticks(), Kept()
    clock.now += 1000 * TICK_MS
    publisher = Publisher("bench", KafkaTransport(settings.kafka, settings.kafka.stream_topic, "bench-ack", SeenTicks()), 10, events)
    publisher.start()
    events.done.wait(30)
    collecting = Collecting(settings, clock, publisher, kept)
    took = []
    for _ in range(ticks):
        events.done.clear()
        begun = time.perf_counter()
        for name, parser in PARSERS.items():
            collecting.submit(parse(name, parser, found[name], ids[name], clock.now, clock.now))
        collecting.publish_due()
        if not events.done.wait(30):
            raise SystemExit("no acknowledgement within 30 s")
        took.append((time.perf_counter() - begun) * 1000)
        clock.now += TICK_MS
    publisher.close(5.0)
    return quantiles(took)


def acknowledgements_through_ray(base: Settings, ticks: int) -> dict[str, float]:
    """The same with Ray between scrapers and collector."""
    listed = assets(17)
    settings = with_assets(base, listed)
    found = bodies(17)
    ids = {name: {asset.provider_ids[name]: asset.asset_id for asset in listed} for name in PARSERS}
    # Behind the ticks of the other measurements in the topic.
    first_tick = Ticks().now + 1_000_000 * TICK_MS
    made = {name: partial(parsed_at, name, found[name], ids[name]) for name in PARSERS}
    with ray_of_two() as ray:
        return quantiles(through_ray(ray, settings, made, first_tick, TICK_MS, ticks))


def parsed_at(name: str, found: list[bytes], ids: Mapping[str, str], tick_ts: int) -> TickResult:
    """What a scraper makes of its bodies at a tick."""
    return parse(name, PARSERS[name], found, ids, tick_ts, tick_ts)


def quantiles(took: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(took, n=100)
    return {"n": len(took), "p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(took)}


# --- parsers ---


class GeckoCoin(BaseModel):
    """The fields of `/coins/markets` that a record is made of."""

    id: str
    current_price: float | None
    last_updated: datetime | None
    market_cap: float | None
    total_volume: float | None
    high_24h: float | None
    low_24h: float | None
    price_change_percentage_1h_in_currency: float | None
    price_change_percentage_24h_in_currency: float | None
    price_change_percentage_7d_in_currency: float | None
    circulating_supply: float | None
    total_supply: float | None
    max_supply: float | None
    market_cap_rank: int | None


class BinanceTicker(BaseModel):
    """The fields of `/ticker/24hr` that a record is made of."""

    symbol: str
    lastPrice: float
    priceChangePercent: float
    highPrice: float
    lowPrice: float
    quoteVolume: float
    closeTime: int
    firstId: int
    count: int


def parsers(rounds: int) -> dict[str, dict[str, float | None]]:
    """Median milliseconds of CPU for 10 000 coins, from bytes to objects: others on the machine do not count."""
    listed = assets(ASSETS)
    now_ms = SystemClock().now_ms()
    gecko, binance = bodies(ASSETS)["coingecko"], orjson.dumps([binance_row(n, now_ms) for n in range(ASSETS)])
    gecko_ids = {asset.provider_ids["coingecko"]: asset.asset_id for asset in listed}
    binance_ids = {asset.provider_ids["binance"]: asset.asset_id for asset in listed}
    gecko_model, binance_model = TypeAdapter(list[GeckoCoin]), TypeAdapter(list[BinanceTicker])
    ccxt = ccxt_parser(listed)
    return {
        "coingecko": {
            "ours": median_ms(lambda: parse("coingecko", parse_markets, gecko, gecko_ids, now_ms, now_ms), rounds),
            "pydantic": median_ms(lambda: [gecko_model.validate_json(body) for body in gecko], rounds),
            "ccxt": None,
        },
        "binance": {
            "ours": median_ms(lambda: parse_tickers(HttpResponse(200, {}, binance, now_ms), binance_ids), rounds),
            "pydantic": median_ms(lambda: binance_model.validate_json(binance), rounds),
            "ccxt": None if ccxt is None else median_ms(lambda: ccxt(binance), max(1, rounds // 2)),
        },
    }


def ccxt_parser(listed: list[Asset]) -> Callable[[bytes], Any] | None:
    """The way of ccxt from a body to its tickers, with the markets known as it knows them after `load_markets`. None when it is not installed."""
    try:
        exchange = importlib.import_module("ccxt").binance()
    except ImportError:
        return None
    exchange.set_markets(
        [
            {
                "id": asset.provider_ids["binance"], "symbol": f"{asset.symbol}/USDT", "base": asset.symbol, "quote": "USDT", "type": "spot",
                "baseId": asset.symbol, "quoteId": "USDT", "spot": True, "active": True, "contract": False, "precision": {}, "limits": {},
            }
            for asset in listed
        ]
    )  # fmt: skip
    return lambda body: exchange.parse_tickers(exchange.parse_json(body.decode()))


def median_ms(call: Callable[[], Any], rounds: int) -> float:
    took = []
    for _ in range(rounds):
        begun = time.process_time()
        call()
        took.append((time.process_time() - begun) * 1000)
    return statistics.median(took)


def report(figures: dict[str, Any]) -> None:
    """Markdown."""
    tick, ack = figures["tick"], figures["ack_ms"]
    print(f"Machine: {figures['machine']}; this process on one core. Load: {figures['load']}.\n")
    print("| 10 000 assets, two providers, median | s |\n|---|---|")
    names = {
        "parse": "parse 140 bodies", "collect": "choose, compare, encode", "publish": "one Kafka transaction", "tick": "**whole tick**",
        "cpu": "of which this process' CPU", "slowest": f"slowest of {tick['rounds']}",
    }  # fmt: skip
    for key, name in names.items():
        print(f"| {name} | {tick[key]:.3f} |")
    print(f"\nGoal: below {GOAL_TICK_S:g} s: {'met' if tick['tick'] < GOAL_TICK_S else 'MISSED'}.\n")
    print("| 17 assets, response to Kafka's acknowledgement | samples | p50 | p95 | p99 | max |\n|---|---|---|---|---|---|")
    hop = figures["ack_through_ray_ms"]
    for name, row in (("in one process, ms", ack), ("through Ray, ms", hop)):
        print(f"| {name} | {row['n']} | {row['p50']:.1f} | {row['p95']:.1f} | {row['p99']:.1f} | {row['max']:.1f} |")
    print(f"\nGoal: p95 through Ray below {GOAL_ACK_MS:g} ms: {'met' if hop['p95'] < GOAL_ACK_MS else 'MISSED'}.\n")
    print("| parser, 10 000 coins, ms of CPU | ours | pydantic | ccxt |\n|---|---|---|---|")
    for provider, row in figures["parsers"].items():
        print(f"| {provider} | {' | '.join('-' if row[name] is None else format(row[name], '.0f') for name in ('ours', 'pydantic', 'ccxt'))} |")


if __name__ == "__main__":
    main()
