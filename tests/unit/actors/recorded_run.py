"""Providers and collector without Kafka; records are kept in lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from aiohttp import web

from actors.collecting.core import CollectorCore
from actors.fetching.build import build_provider
from actors.publishing.exchange_recorder import ExchangeRecorder
from cryptoviz.assets import DEFAULT_ASSETS, Asset
from cryptoviz.providers.base import BaseProvider
from cryptoviz.records import TickResult
from cryptoviz.settings import Settings, load_settings
from tests.support.clock import FakeClock
from tests.support.collection_fakes import FakeSink, FakeSnapshot
from tests.support.corpus import IDS, RECEIVED_MS, Case
from tests.support.replay import RowsOfTopics

TICK = 1000
T0 = RECEIVED_MS - RECEIVED_MS % TICK


class Site:
    """Responses by provider: a case of the corpus, or set by a test."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[web.Request], web.Response]] = {}
        self.url = ""

    def serve(self, provider: str, case: Case) -> None:
        self.answers[provider] = lambda _: web.Response(
            status=case.response.status, body=case.response.body, headers={"Content-Type": "application/json", **case.response.headers}
        )

    async def answer(self, request: web.Request) -> web.Response:
        return self.answers[request.path.split("/")[1]](request)


class Run:
    """Providers and collector without Kafka; records are kept in lists."""

    def __init__(self, site: Site, *providers: str, **more: Any) -> None:
        urls = {name: {"base_url": f"{site.url}/{name}"} for name in providers}
        extra = [{"asset_id": asset.asset_id, "symbol": asset.symbol, "name": asset.name} for asset in assets_of("coingecko")]
        self.settings: Settings = load_settings(
            crypto_list=[one["asset_id"] for one in extra], collect={"tick_s": TICK / 1000, "providers": providers}, providers=urls, **more
        )  # fmt: skip
        self.clock = FakeClock(T0)
        self.raw, self.sink = FakeSink(), FakeSink()
        self.sink_of_raw = ExchangeRecorder(self.raw, self.settings.kafka.max_record_bytes)
        self.core = CollectorCore(self.settings, self.clock, self.sink, FakeSnapshot())
        self.providers = {name: self.provider(name) for name in providers}

    def provider(self, name: str) -> BaseProvider:
        return build_provider(name, self.settings, self.clock, self.sink_of_raw)

    async def tick(self, *others: TickResult) -> None:
        tick_ts = self.core._assembler.current_tick
        self.clock.ms = max(self.clock.ms, tick_ts + 200)
        for provider in self.providers.values():
            self.core.submit(await provider.poll(tick_ts, self.settings.assets, 20.0))
        for other in others:
            self.core.submit(replace(other, tick_ts=tick_ts))
        self.clock.ms = max(self.clock.ms, tick_ts + 0.95 * TICK)
        self.core.publish_due()

    async def aclose(self) -> None:
        for provider in self.providers.values():
            await provider.aclose()

    def rows(self) -> RowsOfTopics:
        audit_records = [record.value for transaction in self.sink.transactions for record in transaction.audit_records]
        exchanges = [message.value for transaction in self.raw.transactions for message in transaction.messages]
        return RowsOfTopics(
            [*exchanges, *audit_records], [message.value for transaction in self.sink.transactions for message in transaction.messages]
        )


def assets_of(provider: str) -> list[Asset]:
    by_id = {asset.asset_id: asset for asset in DEFAULT_ASSETS}
    return [by_id[asset_id] for asset_id in IDS[provider].values()]
