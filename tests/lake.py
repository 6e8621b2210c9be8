"""Shared by the lake's tests: engines, records, a transactional producer, and a Ray that hosts the lake actor."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from cryptoviz.assets import DEFAULT_ASSETS, Asset
from cryptoviz.engines.build import build_engine
from cryptoviz.kafka import producer as kafka_producer
from cryptoviz.lake.verify import Report, verify
from cryptoviz.records import RawExchange, UnifiedRecord, event_id
from cryptoviz.settings import Settings, claim_home, load_settings
from tests.helpers import eventually, free_port
from tests.raycluster import ray_on

TICK = 1_764_000_000_000  # 2025-11-24T16:00:00Z
DAY_MS = 86_400_000
NAMESPACE = "cryptoviz-lake-test"


def lake_settings(home: Path, **lake: Any) -> Settings:
    """Settings with free ports and a separate home."""
    return claim_home(
        load_settings(
            home=home,
            log_level="INFO",
            kafka={"port": free_port(), "controller_port": free_port()},
            s3={"port": free_port(), "console_port": free_port(), "secret_key": "canary-secret-of-the-lake-tests"},
            lake={"ui_port": free_port(), "trigger_ms": 200, **lake},
        )
    )


@contextlib.contextmanager
def engines(settings: Settings) -> Iterator[None]:
    """A real Kafka and a real MinIO."""
    with contextlib.ExitStack() as stack:
        for name in ("kafka", "object-store"):
            engine = build_engine(name, settings)
            stack.callback(engine.stop)
            engine.start()
        yield


def record(tick_ts: int, asset: Asset = DEFAULT_ASSETS[0], **changes: Any) -> UnifiedRecord:
    """A valid unified record."""
    return replace(
        UnifiedRecord(
            event_id=event_id(asset.asset_id, tick_ts, "live"),
            schema_version=1,
            kind="live",
            tick_ts=tick_ts,
            source_ts=tick_ts - 1500,
            ingest_ts=tick_ts + 250,
            asset_id=asset.asset_id,
            symbol=asset.symbol,
            name=asset.name,
            quote_currency="USD",
            price=37_000.5 + tick_ts % 997,
            market_cap=7.2e11,
            volume_24h=1.9e10,
            high_24h=38_000.25,
            low_24h=None,
            change_1h_pct=-0.25,
            change_24h_pct=1.75,
            change_7d_pct=None,
            circulating_supply=19_500_000.0,
            total_supply=21_000_000.0,
            max_supply=None,
            rank=1,
            provider="coingecko",
            provider_asset_id=asset.provider_ids["coingecko"],
            role="primary",
            fallback_reason=None,
            attempt=1,
            fetch_id=f"fetch-{tick_ts}",
            consensus_price=37_000.4,
            consensus_sources=2,
            spread_bps=0.5,
            disagrees=False,
        ),
        **changes,
    )


def exchange(tick_ts: int, **changes: Any) -> RawExchange:
    """A valid raw exchange."""
    return replace(
        RawExchange(
            fetch_id=f"fetch-{tick_ts}",
            provider="coingecko",
            endpoint="/coins/markets",
            tick_ts=tick_ts,
            started_ts=tick_ts + 5,
            finished_ts=tick_ts + 205,
            status=200,
            outcome="ok",
            error=None,
            rate_limit_headers={"retry-after": "1"},
            attempt=1,
            body='[{"id": "bitcoin", "current_price": 37000.5}]',
        ),
        **changes,
    )


class Feed:
    """Publishes ticks like the publisher: one transaction each."""

    def __init__(self, settings: Settings, name: str = "lake-test") -> None:
        self._kafka = settings.kafka
        self._producer = kafka_producer(self._kafka, {"transactional.id": name, "linger.ms": 1})
        self._producer.init_transactions(30)
        self.rows = 0
        self.exchanges = 0
        self.acknowledged: Counter[str] = Counter()
        """Event ids of good rows whose transaction Kafka has committed."""

    def tick(self, tick_ts: int, assets: Sequence[Asset] = DEFAULT_ASSETS) -> None:
        """One tick of all assets and one raw exchange."""
        rows = [(asset.asset_id.encode(), record(tick_ts, asset).to_json()) for asset in assets]
        self.publish(rows, [(b"coingecko", exchange(tick_ts).to_json())])
        self.acknowledged.update(event_id(asset.asset_id, tick_ts, "live") for asset in assets)
        self.rows += len(rows)
        self.exchanges += 1

    def publish(self, stream: Sequence[tuple[bytes, bytes | None]], raw: Sequence[tuple[bytes, bytes | None]] = ()) -> None:
        """Any records, in one transaction."""
        self._producer.begin_transaction()
        for topic, messages in ((self._kafka.stream_topic, stream), (self._kafka.raw_topic, raw)):
            for key, value in messages:
                self._producer.produce(topic, value, key=key)
        self._producer.commit_transaction(30)

    def abort(self, stream: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Aborted records, which readers of committed records must not see."""
        self._producer.begin_transaction()
        for key, value in stream:
            self._producer.produce(self._kafka.stream_topic, value, key=key)
        self._producer.flush(30)
        self._producer.abort_transaction(30)


@dataclass
class LakeHost:
    """A lake actor in this test's Ray."""

    actor: Any
    ray: Any

    def start(self) -> float:
        """Start the job; returns the duration in seconds."""
        begun = time.monotonic()
        self.ray.get(self.actor.start.remote(), timeout=120)
        return time.monotonic() - begun

    def stop(self) -> None:
        """End the job; the actor stays."""
        self.ray.get(self.actor.stop.remote(), timeout=60)

    def probe(self) -> Any:
        """Probe the actor like the controller."""
        return self.ray.get(self.actor.probe.remote(), timeout=10)


@contextlib.contextmanager
def ray_cluster() -> Iterator[Any]:
    """A local Ray of two CPUs."""
    with ray_on(2, NAMESPACE) as ray:
        yield ray


def host_lake(ray: Any, settings: Settings, name: str = "lake") -> LakeHost:
    """The lake actor, with the options of the controller."""
    from spark_jobs.streaming.actor import LakeActor

    actor = ray.remote(LakeActor).options(name=name, lifetime="detached", num_cpus=0, max_restarts=-1).remote(settings)
    return LakeHost(actor, ray)


def caught_up(settings: Settings, timeout_s: float = 60.0) -> Report:
    """The verifier's report once the lake has all records of Kafka."""

    def check() -> Report | None:
        report = verify(settings)
        return report if report.pending == 0 and report.comparisons[0].kafka_records else None

    report = eventually(check, timeout_s, every_s=0.5)
    assert report is not None
    return report


def say(*texts: object) -> None:
    """Print a measured figure (shown with `pytest -rP` or `-s`)."""
    sys.stdout.write(" ".join(map(str, texts)) + "\n")


def binary(values: Sequence[bytes | None]) -> pa.Array:
    """Kafka values as an Arrow array."""
    return pa.array(values, pa.binary())
