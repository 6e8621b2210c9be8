"""A small pipeline for browser tests: real Kafka, Valkey and object store, the real control service with fake components, the real page."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import sys
import urllib.request
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import redis
from deltalake import write_deltalake

from control.reconcile.components import build_table
from cryptoviz.assets import Asset
from cryptoviz.client import ControlClient
from cryptoviz.components import Probe
from cryptoviz.engines.build import build_engine
from cryptoviz.engines.process import ChildProcess
from cryptoviz.kafka import producer as kafka_producer
from cryptoviz.lake.objects import table_address
from cryptoviz.lake.schema import PARTITION_BY, PRICES
from cryptoviz.records import UnifiedRecord
from cryptoviz.settings import Settings, claim_home, dump_settings_file, load_settings
from tests.support.clock import now_ms
from tests.support.control_server import serving_settings
from tests.support.ports import free_port
from tests.support.records import record as a_record
from tests.support.waiting import eventually

TICK_MS = 2000
BASE_PRICES = {
    "bitcoin": 97_123.45, "ethereum": 3_350.21, "binancecoin": 612.4, "ripple": 1.4412, "cardano": 0.9812, "solana": 238.11, "polkadot": 7.93,
    "polygon": 0.4711, "avalanche": 38.22, "litecoin": 92.3, "chainlink": 15.21, "uniswap": 10.74, "cosmos": 8.31, "stellar": 0.4688,
    "algorand": 0.3104, "vechain": 0.0391234, "filecoin": 5.123,
}  # fmt: skip


def browser_settings(home: Path, **overrides: Any) -> Settings:
    """Demo settings with free ports and a separate home."""
    sections: dict[str, Any] = {
        "kafka": {"port": free_port(), "controller_port": free_port()},
        "s3": {"port": free_port(), "console_port": free_port()},
        "redis": {"port": free_port()},
        "control": {"port": free_port(), "reconcile_ms": 100},
        "dashboard": {"port": free_port()},
        "market": {"port": free_port()},
        "collect": {"tick_s": TICK_MS / 1000},
    }
    return claim_home(load_settings("demo", home=home, **(sections | overrides)))


def record(asset_id: str, tick_ts: int, price: float, **changes: Any) -> UnifiedRecord:
    """A full record of an asset; other values are derived from price and asset."""
    assets = list(BASE_PRICES)
    rank = assets.index(asset_id) + 1 if asset_id in assets else 99
    asset = Asset(asset_id, asset_id[:4].upper(), asset_id.capitalize(), {"coingecko": asset_id})
    derived: dict[str, Any] = {
        "source_ts": tick_ts - 30_000, "ingest_ts": now_ms(), "price": price, "market_cap": price * 1e7 * 18 / rank,
        "volume_24h": price * 4e5 * 18 / rank, "high_24h": price * 1.03, "low_24h": price * 0.96, "change_1h_pct": 0.42, "change_24h_pct": -1.25,
        "circulating_supply": 1e7, "total_supply": None, "rank": rank, "fetch_id": "0" * 32, "consensus_price": price, "spread_bps": 3.5,
    }  # fmt: skip
    return a_record(tick_ts, asset, **(derived | changes))


class Publisher:
    """Writes ticks like the collector: one transaction each."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.kafka.stream_topic
        self._producer = kafka_producer(settings.kafka, {"transactional.id": f"browser-{secrets.token_hex(4)}", "linger.ms": 0})
        self._producer.init_transactions(60)
        self._redis = redis.Redis.from_url(**settings.redis.connection(60))

    def tick(self, records: Sequence[UnifiedRecord], *, commit: bool = True) -> None:
        """One transaction; with `commit=False` it is aborted, so that readers must not see it."""
        self._producer.begin_transaction()
        for one in records:
            self._producer.produce(self._topic, key=one.asset_id, value=one.to_json(), timestamp=one.tick_ts)
        self._producer.flush(60)
        if not commit:
            self._producer.abort_transaction(60)
            return
        self._producer.commit_transaction(60)
        self._redis.hset("cryptoviz:latest", mapping={one.asset_id: one.to_json() for one in records})

    def garbage(self, values: Iterable[bytes], tick_ts: int) -> None:
        """Invalid records with this tick's time, since a topic is searched by time: those of a slow test must not be newer than the next test's."""
        self._producer.begin_transaction()
        for value in values:
            self._producer.produce(self._topic, key="garbage", value=value, timestamp=tick_ts)
        self._producer.commit_transaction(60)


class Stack:
    """All services of a page. `start` takes about ten seconds; `stop` ends them."""

    def __init__(self, home: Path, **overrides: Any) -> None:
        self.settings = browser_settings(home, **overrides)
        self.engines = [build_engine(name, self.settings) for name in ("kafka", "redis", "object-store")]
        self.dashboard = DashboardProcess(self.settings)
        self._undo = contextlib.ExitStack()

    @property
    def url(self) -> str:
        """The page."""
        return self.dashboard.url

    def start(self) -> None:
        """Start all services without publishing. If a start fails, those already started end."""
        with contextlib.ExitStack() as undo:
            for engine in self.engines:
                undo.callback(engine.stop)
                engine.start()
            self.control = undo.enter_context(serving_settings(self.settings, build_table(self.settings), interval_ms=100))
            with ControlClient.from_settings(self.settings) as client:
                client.start_pipeline()
            self.publisher = Publisher(self.settings)
            self.dashboard.start()
            undo.callback(self.dashboard.stop)
            self._undo = undo.pop_all()

    def stop(self) -> None:
        """End all, in reverse order."""
        self._undo.close()

    def set_metrics(self, name: str, **metrics: float) -> None:
        """Set the result of a component's probe."""
        self.control.runtime.probes[name] = Probe(running=True, healthy=True, metrics=metrics, pid=os.getpid())

    def fill_lake(self, rows: Sequence[UnifiedRecord]) -> None:
        """Append rows to the prices table as one commit."""
        write_deltalake(
            table_address(self.settings.s3, "prices").uri, price_table(rows), mode="append", partition_by=list(PARTITION_BY),
            storage_options=self.settings.s3.storage_options(),
        )  # fmt: skip


class DashboardProcess:
    """`python -m dashboard`, as run by its component."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        file = settings.run_dir / "dashboard-settings.json"
        self._file = file
        environment = {**os.environ, "CRYPTOVIZ_SETTINGS_FILE": str(file)}
        self.process = ChildProcess("dashboard", (sys.executable, "-m", "dashboard"), settings.log_dir / "dashboard.log", environment)

    @property
    def url(self) -> str:
        """The page."""
        return f"http://127.0.0.1:{self._settings.dashboard.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        dump_settings_file(self._settings, self._file)
        self.process.start()
        eventually(self._alive, timeout_s=180)  # the imports alone take a minute and a half on a machine with a load of 30

    def stop(self) -> None:
        """End it."""
        self.process.stop()

    def log(self) -> str:
        """Its log so far."""
        return self.process.log_file.read_text(encoding="utf-8", errors="replace")

    def _alive(self) -> bool:
        assert self.process.running, self.log()
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def walk(asset_id: str, first_tick: int, count: int) -> list[UnifiedRecord]:
    """A deterministic series of prices around the asset's base, one per tick, oldest first."""
    base = BASE_PRICES[asset_id]
    phase = list(BASE_PRICES).index(asset_id)
    return [record(asset_id, first_tick + i * TICK_MS, base * (1 + 0.004 * math.sin(i / 37 + phase) + 0.001 * math.sin(i / 5))) for i in range(count)]


def price_table(rows: Sequence[UnifiedRecord]) -> pa.Table:
    """Rows of the prices table, with invented offsets."""
    values: list[dict[str, Any]] = []
    for offset, one in enumerate(rows):
        row: dict[str, Any] = {name: getattr(one, name, None) for name in PRICES.names}
        day = datetime.fromtimestamp(one.tick_ts / 1000, UTC)
        for name in ("tick_ts", "source_ts", "ingest_ts"):
            row[name] = None if row[name] is None else datetime.fromtimestamp(row[name] / 1000, UTC)
        row |= {"kafka_topic_id": "test", "kafka_partition": 0, "kafka_offset": offset, "year": day.year, "month": day.month, "day": day.day}
        values.append(row)
    return pa.Table.from_pylist(values, schema=PRICES)
