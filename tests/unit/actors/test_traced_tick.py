"""Spans of a tick in scraper, collector and publisher, and that they change no record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from actors.collecting.core import CollectorCore
from actors.fetching.hold_off import HoldOff, MinIntervalLimiter
from actors.fetching.http import HttpFetcher, HttpLimits, open_client
from actors.publishing.exchange_recorder import ExchangeRecorder
from actors.publishing.kafka_transport import KafkaTransport, PublishedTicks
from actors.publishing.publisher import Publisher
from actors.publishing.transaction import KafkaTransaction
from actors.scraping.poll_scheduler import PollRules, PollScheduler
from cryptoviz.assets import Asset
from cryptoviz.clock import SystemClock
from cryptoviz.kafka import Record
from cryptoviz.records import FallbackReason, RawExchange, TickResult
from cryptoviz.settings import Settings, load_settings
from cryptoviz.telemetry.tracing import flush_spans, span, start_tracing
from tests.support.clock import T0, FakeClock
from tests.support.collection_fakes import Events, FakeSink, FakeSnapshot, answer, failed
from tests.support.http_server import http_server
from tests.support.otlp import Receiver, end_tracing, otlp_receiver
from tests.support.settings import forget_settings

PROVIDERS = ("coingecko", "coinmarketcap")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Settings]:
    forget_settings(monkeypatch, tmp_path)
    yield load_settings(crypto_list=("BTC", "ETH"), collect={"tick_s": 2, "providers": PROVIDERS})
    end_tracing()


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    with otlp_receiver() as receiver:
        start_tracing(load_settings(tracing={"endpoint": receiver.endpoint}), "all")
        yield receiver


class Provider:
    """Records an exchange in a span, as `HttpFetcher` does."""

    def __init__(self, name: str, recorder: ExchangeRecorder, failure: FallbackReason | None = None) -> None:
        self.name = name
        self._recorder = recorder
        self._failure = failure

    async def poll(self, tick_ts: int, assets: Sequence[Asset], budget_s: float) -> TickResult:
        with span("GET", {"cryptoviz.fetch_id": f"fetch-{self.name}"}):
            self._recorder(RawExchange(f"fetch-{self.name}", self.name, "http://x", tick_ts, tick_ts, tick_ts, 200, "ok", None, {}, 1, "{}"))
        return failed(self.name, self._failure, tick_ts) if self._failure else answer(self.name, {"bitcoin": 1.0, "ethereum": 2.0}, tick_ts)


class Producer:
    """Takes what `KafkaTransport` commits."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.progress: Any = None

    def commit(self, records: Sequence[Record], position: Any, identity: str, leaps: Any = ()) -> tuple[()]:
        self.records += records
        return ()


class Transport(KafkaTransport):
    """Of a broker that accepts everything."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.kafka, settings.kafka.stream_topic, "id", PublishedTicks(FakeClock()))
        self.producer = Producer()
        self._producer = self.producer  # type: ignore[assignment]

    def connect(self) -> None:
        return None

    def publish(self, transaction: KafkaTransaction) -> tuple[()]:
        published, self._published = self._published, _Nothing()  # type: ignore[assignment]
        try:
            super().publish(transaction)
        finally:
            self._published = published
        return ()

    def close(self) -> None:
        pass


class _Nothing:
    def after(self, transaction: KafkaTransaction) -> Any:
        return PublishedTicks(FakeClock()).taken

    def resume(self, progress: Any) -> None:
        pass


async def one_tick(settings: Settings) -> list[Record]:
    """The records of one tick, with the providers' raw exchanges; the second provider fails."""
    clock, sink, transport = FakeClock(), FakeSink(), Transport(settings)
    core = CollectorCore(settings, clock, sink, FakeSnapshot())
    recorder = ExchangeRecorder(sink, settings.kafka.max_record_bytes)
    for name, failure in zip(PROVIDERS, (None, FallbackReason.UNAVAILABLE), strict=True):
        provider = Provider(name, recorder, failure)
        await PollScheduler(provider, settings.assets, PollRules(2000, 1.0, 1.0), HoldOff(), clock, core.submit).poll_once(T0)
    core.publish_due()
    publisher = Publisher("all", transport, 10, Events())
    for transaction in sink.transactions:
        publisher.offer(transaction)
    publisher.start()
    assert publisher.close(60)
    core.published(sink.transactions[-1], T0 + 500)
    flush_spans(60.0)
    return transport.producer.records


async def test_the_tree_of_a_tick(settings: Settings, receiver: Receiver) -> None:
    records = await one_tick(settings)
    spans = receiver.spans()
    by_id = {one.id: one for one in spans}
    assert {one.trace for one in spans} == {spans[0].trace}
    tree = sorted((one.name, by_id[one.parent].name if one.parent else "") for one in spans)
    # Two polls with a request each, whose exchanges are published, and the tick itself.
    assert tree == [
        ("GET", "poll"), ("GET", "poll"), ("merge", "tick"), ("poll", "tick"), ("poll", "tick"), ("publish", "GET"), ("publish", "GET"),
        ("publish", "merge"), ("tick", ""),
    ]  # fmt: skip
    polls = {str(one.attributes["cryptoviz.provider"]): one for one in spans if one.name == "poll"}
    assert polls["coingecko"].attributes == {
        "cryptoviz.tick_ts": T0, "cryptoviz.provider": "coingecko", "cryptoviz.fetch_id": "fetch-coingecko", "cryptoviz.prices": 2,
        "cryptoviz.attempt": 1,
    }  # fmt: skip
    assert polls["coingecko"].failed is None
    assert polls["coinmarketcap"].failed == "unavailable: coinmarketcap: unavailable"
    (merge,) = receiver.spans(name="merge")
    assert {id_ for _, id_ in merge.links} == {one.id for one in polls.values()}
    assert merge.attributes == {
        "cryptoviz.tick_ts": T0, "cryptoviz.results": 2, "cryptoviz.records": 2, "cryptoviz.gaps": 0, "cryptoviz.providers": "coingecko",
    }  # fmt: skip
    # Each record has the context of the transaction that published it.
    published = {str(one.attributes["cryptoviz.transaction"]): one for one in receiver.spans(name="publish")}
    stream = [record for record in records if record.topic == settings.kafka.stream_topic and record.key in (b"bitcoin", b"ethereum")]
    assert {tuple(record.headers) for record in stream} == {header(published[f"tick-{T0}"].trace, published[f"tick-{T0}"].id)}
    assert published[f"tick-{T0}"].attributes["cryptoviz.records"] == 2


def header(trace: str, span_id: str) -> tuple[tuple[str, bytes], ...]:
    return (("traceparent", f"00-{trace}-{span_id}-01".encode()),)


async def test_records_are_the_same_with_and_without_spans(settings: Settings) -> None:
    def bare(records: Sequence[Record]) -> list[Mapping[str, object]]:
        return [{"topic": record.topic, "key": record.key, "value": record.value} for record in records]

    off = await one_tick(settings)
    assert off
    assert {record.headers for record in off} == {()}
    with otlp_receiver() as receiver:
        start_tracing(load_settings(tracing={"endpoint": receiver.endpoint}), "all")
        on = await one_tick(settings)
        receiver.status = 503
        failing = await one_tick(settings)
    assert bare(on) == bare(off) == bare(failing)
    assert all(record.headers for record in on)


async def test_a_provider_gets_no_context(receiver: Receiver) -> None:
    sent: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        sent.extend(name.lower() for name in request.headers)
        return web.json_response({})

    clock = SystemClock()
    async with http_server(handle) as url:
        fetcher = HttpFetcher("coingecko", open_client(url), HttpLimits(5.0, 1000), MinIntervalLimiter(0.0, clock), clock)
        await fetcher.get(f"{url}/a?x=1", {}, {}, lambda response: response.body)
        await fetcher.aclose()
    flush_spans(60.0)
    (get,) = receiver.spans(name="GET")
    assert (get.attributes["url.full"], get.attributes["http.response.status_code"]) == (f"{url}/a?x=1", 200)
    assert sent
    assert not {"traceparent", "tracestate", "baggage"} & set(sent)
