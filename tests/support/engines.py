"""Real engines on free ports, each with a separate home."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptoviz.engines.build import Engine, build_engine
from cryptoviz.settings import Settings, claim_home, load_settings
from tests.support.ports import free_port, free_ports


@dataclass(frozen=True)
class Engines:
    settings: Settings
    kafka: Engine
    redis: Engine


@contextlib.contextmanager
def kafka_and_redis(home: Path) -> Iterator[Engines]:
    """Real engines; `settings_for` returns settings that use them."""
    ports = free_ports(3)
    settings = claim_home(load_settings(home=home, kafka={"port": ports[0], "controller_port": ports[1]}, redis={"port": ports[2]}))
    with contextlib.ExitStack() as stack:
        found = Engines(settings, build_engine("kafka", settings), build_engine("redis", settings))
        for engine in (found.kafka, found.redis):
            stack.callback(engine.stop)
            engine.start()
        yield found


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


@contextlib.contextmanager
def store(home: Path, **lake: Any) -> Iterator[Settings]:
    """Settings of a running MinIO with empty buckets."""
    settings = lake_settings(home, **lake)
    engine = build_engine("object-store", settings)
    try:
        engine.start()
        yield settings
    finally:
        engine.stop()


@contextlib.contextmanager
def object_store(home: Path, **lake: Any) -> Iterator[Settings]:
    """A real MinIO, and settings that point to it."""
    settings = claim_home(
        load_settings(
            home=home,
            log_level="INFO",
            s3={"port": free_port(), "console_port": free_port(), "secret_key": "canary-secret-of-the-maintenance-tests"},
            lake={"close_after_s": 0, "quiet_s": 0, **lake},
        )
    )
    engine = build_engine("object-store", settings)
    engine.start()
    try:
        yield settings
    finally:
        engine.stop()
