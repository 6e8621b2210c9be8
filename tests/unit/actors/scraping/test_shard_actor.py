"""A shard's scraper serves from its start, also while the leading scraper asks nothing of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from actors.scraping.shard_actor import ShardActor
from control.reconcile.components import build_table
from control.reconcile.state import advance
from control.reconcile.state_types import Context, Observed, Probed
from cryptoviz.components import FRESH_TICKS, ComponentState, DesiredState, Probe, Trigger
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


def made_settings(home: Path, name: str = NAME, **more: Any) -> Settings:
    return load_settings(home=home, collect={"providers": [name, "binance"]}, providers={name: {"scrapers": 2}}, **more)


@asynccontextmanager
async def started(settings: Settings, name: str = NAME) -> AsyncIterator[ShardActor]:
    shard = ShardActor(settings, name, 2, HeldLead())
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


@pytest.mark.parametrize("name", ["coinbase", "coingecko"])
async def test_a_shard_of_coins_that_the_provider_does_not_list_makes_no_call_and_runs(tmp_path: Path, name: str) -> None:
    unlisted = {"asset_id": "lost", "symbol": "LOST", "name": "Lost", "provider_ids": {"binance": "LOSTUSDT"}}
    settings = made_settings(tmp_path, name, crypto_list=["bitcoin", "lost"], extra_assets=[unlisted])
    async with started(settings, name) as shard:
        for number in range(FRESH_TICKS):
            answer = await shard.poll_shard(T0 + number, 1.0)  # a call would be refused
            assert (answer.result.failure, answer.result.asset_failures) == (None, {"lost": FallbackReason.MISSING_ASSET})
        probe = await shard.probe()
        assert (probe.healthy, probe.message) == (True, f"{name} lists none of its coins")
