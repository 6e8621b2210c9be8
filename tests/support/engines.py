"""Real engines on free ports, each with a separate home."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptoviz.engines.build import Engine, build_engine
from cryptoviz.settings import Settings, claim_home, load_settings
from tests.support.external_engines import ExternalServer, external_settings
from tests.support.ports import free_port

EXTERNAL = False
"""Whether tests use engines that the project does not start: option `--external-engines`."""


@contextlib.contextmanager
def engines(settings: Settings, *names: str) -> Iterator[list[Engine]]:
    """Run these engines within the context; Kafka and MinIO if no name is given."""
    with contextlib.ExitStack() as stack:
        found = [_engine(name, settings) for name in names or ("kafka", "object-store")]
        for engine in found:
            stack.callback(engine.stop)
            engine.start()
        yield found


def _engine(name: str, settings: Settings) -> Engine:
    return ExternalServer.of(name, settings) if EXTERNAL else build_engine(name, settings)


def engine_sections() -> dict[str, Any]:
    """Sections of the settings with engines on free ports."""
    if EXTERNAL:
        return external_settings()
    return {
        "kafka": {"port": free_port(), "controller_port": free_port()},
        "s3": {"port": free_port(), "console_port": free_port(), "secret_key": "canary-secret-of-the-lake-tests"},
        "redis": {"port": free_port()},
    }


@dataclass(frozen=True)
class Engines:
    settings: Settings
    kafka: Engine
    redis: Engine


@contextlib.contextmanager
def kafka_and_redis(home: Path) -> Iterator[Engines]:
    """Real engines; `settings_for` returns settings that use them."""
    sections = engine_sections()
    settings = claim_home(load_settings(home=home, kafka=sections["kafka"], redis=sections["redis"]))
    with engines(settings, "kafka", "redis") as (kafka, redis):
        yield Engines(settings, kafka, redis)


def lake_settings(home: Path, **lake: Any) -> Settings:
    """Settings with free ports and a separate home."""
    return claim_home(load_settings(home=home, log_level="INFO", **engine_sections(), lake={"ui_port": free_port(), "trigger_ms": 200, **lake}))


@contextlib.contextmanager
def object_store(home: Path, **lake: Any) -> Iterator[Settings]:
    """Settings of a running MinIO with empty buckets. Maintenance takes the current day and new files, too."""
    settings = lake_settings(home, **({"close_after_s": 0, "quiet_s": 0} | lake))
    with engines(settings, "object-store"):
        yield settings
