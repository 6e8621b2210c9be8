"""A shard's scraper serves from its start, also while the leading scraper asks nothing of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from actors.scraping.shard_actor import ShardActor
from control.reconcile.components import build_table
from control.reconcile.state import advance
from control.reconcile.state_types import Context, Observed, Probed
from cryptoviz.components import ComponentState, DesiredState, Probe, Trigger
from cryptoviz.providers.failures import failure
from cryptoviz.records import FallbackReason
from cryptoviz.settings import Settings, load_settings
from tests.support.clock import T0

NAME, SHARD = "coinbase", "scraper/coinbase/2"


class HeldLead:
    """A leading scraper whose provider refused the key."""

    async def permit(self, tick_ts: int, timeout_s: float) -> None:
        raise failure(NAME, FallbackReason.AUTH, "the key was refused")

    async def observe(self, headers: Mapping[str, str]) -> None:
        """Nothing to count."""


class NoBroker:
    """`Transport` of a publisher that gets nothing to publish."""

    def __init__(self, *_: object) -> None:
        """Takes what the transport of Kafka takes."""

    def connect(self) -> None:
        """Connected."""

    def close(self) -> None:
        """Closed."""


@pytest.fixture(autouse=True)
def without_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.scraping.raw_publisher.KafkaTransport", NoBroker)


def made_settings(home: Path) -> Settings:
    return load_settings(home=home, collect={"providers": [NAME]}, providers={NAME: {"scrapers": 2}})


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[ShardActor]:
    shard = ShardActor(settings, NAME, 2, HeldLead())
    await shard.start()
    try:
        yield shard
    finally:
        await shard.stop()


def shown(settings: Settings, probe: Probe) -> tuple[ComponentState, str]:
    """What `status` says of it after its start."""
    starting = Observed(state=ComponentState.STARTING, trigger=Trigger.STARTED)
    context = Context(desired=DesiredState.RUNNING, now_ms=T0, policy=build_table(settings)[SHARD].policy)
    after, _ = advance(starting, Probed(probe), context)
    return after.state, after.message


async def test_a_shard_that_is_never_asked_runs(tmp_path: Path) -> None:
    settings = made_settings(tmp_path)
    async with started(settings) as shard:
        assert await shard.is_ready()
        assert shown(settings, await shard.probe()) == (ComponentState.RUNNING, "no poll requested yet by scraper/coinbase")


async def test_a_shard_that_is_not_asked_after_its_first_poll_was_refused_runs(tmp_path: Path) -> None:
    settings = made_settings(tmp_path)
    async with started(settings) as shard:
        answer = await shard.poll_shard(T0, 1.0)
        assert answer.result.failure is FallbackReason.AUTH
        assert shown(settings, await shard.probe()) == (ComponentState.RUNNING, "coinbase: the key was refused")
