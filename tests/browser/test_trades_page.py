"""Trades in Chromium: the tape is the topic's, candles are those of lake and topic together, gaps and halts are marked."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic
from deltalake import write_deltalake
from playwright.sync_api import Page

from cryptoviz.client import ControlClient
from cryptoviz.clock import SystemClock
from cryptoviz.kafka import admin_client
from cryptoviz.kafka import producer as kafka_producer
from cryptoviz.lake.objects import table_address
from cryptoviz.lake.schema import PARTITION_BY, TRADES
from cryptoviz.redis_keys import quote_key
from cryptoviz.settings import Settings
from cryptoviz.trades.quote import QuoteRecord
from cryptoviz.trades.record import Trade
from dashboard.app_context import AppContext
from dashboard.feeds.lake_history import LakeHistory
from tests.browser.conftest import Opener, until_shown
from tests.support.dashboard_server import serving
from tests.support.page_stack import Stack
from tests.support.ports import free_port
from tests.support.trades import change, trade
from tests.support.waiting import eventually

pytestmark = pytest.mark.browser

MINUTE_MS = 60_000
COUNT = 4_000
EVERY_US = 300_000
"""Twenty minutes in all: the feed reads the last ten, the lake has the first fifteen."""


def made(number: int, first_us: int, **changes: Any) -> Trade:
    """A trade of the series that begins at `first_us`."""
    at = first_us + number * EVERY_US
    return Trade(**trade(number, side="sell" if number % 3 else "buy", venue_ts=at, ingest_ts=at + 40_000, **changes))


def trade_table(trades: Sequence[Trade]) -> pa.Table:
    """Rows of the table of trades, with invented offsets."""
    rows = []
    for offset, one in enumerate(trades):
        assert one.venue_ts is not None
        at = datetime.fromtimestamp(one.venue_ts / 1e6, UTC)
        rows.append(
            {name: getattr(one, name) for name in Trade.__struct_fields__}
            | {"price": Decimal(one.price), "size": Decimal(one.size), "price_double": float(one.price), "size_double": float(one.size), "ts": at}
            | {"venue_ts": at, "ingest_ts": datetime.fromtimestamp(one.ingest_ts / 1e6, UTC)}
            | {"kafka_topic_id": "test", "kafka_partition": 0, "kafka_offset": offset, "year": at.year, "month": at.month, "day": at.day}
        )
    return pa.Table.from_pylist([{name: row.get(name) for name in TRADES.names} for row in rows], schema=TRADES)


@dataclass
class Streamed:
    """The stack with a page of its own whose streams are on. The test is the stream."""

    settings: Settings
    url: str
    out: Producer
    first_us: int

    def publish(self, trades: Sequence[Trade], changes: Sequence[bytes] = (), *, commit: bool = True) -> None:
        """One transaction."""
        kafka = self.settings.kafka
        self.out.begin_transaction()
        for one in trades:
            self.out.produce(kafka.trades_topic, one.to_json(), key=b"binance:BTCUSDT", timestamp=one.ingest_ts // 1000)
        for each in changes:
            self.out.produce(kafka.trade_gaps_topic, each, key=b"binance:BTCUSDT")
        self.out.flush(60)
        self.out.commit_transaction(60) if commit else self.out.abort_transaction(60)


@pytest.fixture(scope="module")
def streamed(stack: Stack) -> Iterator[Streamed]:
    base = stack.settings
    port = free_port()
    settings = base.model_copy(
        update={
            "streams": base.streams.model_copy(update={"venues": ("binance",), "instruments": ("BTC",), "quote_s": 1.0}),
            "dashboard": base.dashboard.model_copy(update={"port": port}),
        }
    )
    kafka = settings.kafka
    admin = admin_client(kafka)  # lives until the answers are there
    for future in admin.create_topics([NewTopic(kafka.trades_topic, 1, 1), NewTopic(kafka.trade_gaps_topic, 1, 1)]).values():
        future.result(120)
    out = kafka_producer(kafka, {"transactional.id": f"trades-{secrets.token_hex(4)}", "linger.ms": 5})
    out.init_transactions(60)
    first_us = (SystemClock().now_ms() * 1000) - COUNT * EVERY_US
    app_context = AppContext.create(settings, lambda: ControlClient.from_settings(settings), LakeHistory(settings))
    with serving(app_context) as url:
        made_here = Streamed(settings, url, out, first_us)
        made_here.publish([made(number, first_us) for number in range(COUNT)])
        rows = trade_table([made(number, first_us) for number in range(COUNT * 3 // 4)])
        write_deltalake(
            table_address(settings.s3, "trades").uri, rows, partition_by=list(PARTITION_BY), storage_options=settings.s3.storage_options()
        )
        feeds = app_context.feeds[-2:]  # of quotes and trades
        for feed in feeds:
            feed.start()
        yield made_here
        for feed in feeds:
            feed.stop()
    app_context.workers.shutdown()
    app_context.history.close()
    app_context.inspection.close()


def tape(page: Page) -> list[tuple[str, ...]]:
    """Number, side, price and size of the rows, as shown."""
    cells = "['.cv-side', '.cv-tape-price', '.cv-tape-size'].map(one => row.querySelector(one).textContent)"
    script = f"rows => rows.map(row => [row.dataset.trade, ...{cells}])"
    return [tuple(each) for each in page.locator(".cv-tape tbody tr").evaluate_all(script)]


def shown(one: Trade) -> tuple[str, ...]:
    return (one.trade_id, "▲ buy" if one.side == "buy" else "▼ sell", one.price, one.size)


def test_the_tape_is_the_topics_newest_trades_and_an_aborted_transaction_is_not_in_it(streamed: Streamed, open_page: Opener) -> None:
    seen = open_page(f"{streamed.url}?view=trades&coin=bitcoin", wait_for=".cv-tape tbody tr")
    page = seen.page
    eventually(lambda: tape(page) == [shown(made(number, streamed.first_us)) for number in range(COUNT - 1, COUNT - 61, -1)])
    page.evaluate("window.kept = document.querySelector('.cv-tape tbody tr')")
    streamed.publish([made(COUNT + 7, streamed.first_us, price="1.0")], commit=False)
    after = [made(COUNT, streamed.first_us), made(COUNT + 5, streamed.first_us, source="refill")]
    streamed.publish(after, [change("gap-1", "open", 1, first_id=COUNT + 1, last_id=COUNT + 4, missing=4, runs=f"{COUNT + 1}-{COUNT + 4}")])
    eventually(lambda: [row[0] for row in tape(page)[:2]] == [str(COUNT + 5), str(COUNT)])
    assert tape(page)[1] == shown(after[0])
    assert tape(page)[0][1].endswith("HTTP"), "refilled trades are marked"
    assert page.evaluate("window.kept.isConnected"), "rows that stay are not drawn again"
    assert page.locator(".cv-tape tbody tr").count() == 60
    until_shown(page, "[data-instrument='binance:BTCUSDT'] .cv-instrument-price", after[1].price)
    until_shown(page, ".cv-instruments", "missing 4")
    assert page.locator(".cv-trade-gap").first.get_attribute("data-state") == "open"
    assert page.locator(".cv-stream").count() == 0, "the stack's control service has no streams"
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert seen.errors == []


def test_the_spread_is_that_of_the_last_quote(streamed: Streamed, open_page: Opener) -> None:
    quote = QuoteRecord(
        quote_id="a-1", venue="binance", venue_symbol="BTCUSDT", asset_id="bitcoin", quote_currency="USDT", bid="36998.80000000", bid_size="1",
        ask="37001.20000000", ask_size="2", venue_ts=None, ingest_ts=streamed.first_us,
    )  # fmt: skip
    seen = open_page(f"{streamed.url}?view=trades&coin=bitcoin", wait_for="[data-instrument='binance:BTCUSDT'] .cv-spread")
    page, key = seen.page, quote_key(streamed.settings.ray.namespace, "binance", "BTCUSDT")
    client = redis.Redis.from_url(**streamed.settings.redis.connection(60))
    client.set(key, quote.to_json(), ex=600)
    until_shown(page, "[data-instrument='binance:BTCUSDT'] .cv-spread", "0.65 36998.80000000 / 37001.20000000")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    client.delete(key)
    client.close()
    until_shown(page, "[data-instrument='binance:BTCUSDT'] .cv-spread", "—")
    assert seen.errors == []


def test_candles_are_those_of_all_trades_of_lake_and_topic(streamed: Streamed, open_page: Opener) -> None:
    page = open_page(f"{streamed.url}?view=coin&coin=bitcoin&tf=1m", wait_for=".cv-chart-place canvas").page
    until_shown(page, ".cv-caption", "from trades of BTCUSDT (binance)")
    minutes: dict[int, list[Trade]] = {}
    for number in range(COUNT):
        one = made(number, streamed.first_us)
        minutes.setdefault((one.venue_ts or 0) // 1000 // MINUTE_MS * MINUTE_MS, []).append(one)
    newest = max(minutes)
    expected = {
        start: (
            float(rows[0].price), max(float(one.price) for one in rows), min(float(one.price) for one in rows), float(rows[-1].price),
            float(sum(Decimal(one.size) for one in rows)),
        )
        for start, rows in minutes.items() if start < newest - MINUTE_MS
    }  # fmt: skip

    def same() -> bool:
        drawn = page.evaluate("window.cv.drawnChart()")
        volumes = {one["time"] * 1000: one.get("value") for one in drawn["volume"]}
        found = {
            one["time"] * 1000: (*(one[name] for name in ("open", "high", "low", "close")), volumes[one["time"] * 1000])
            for one in drawn["candles"] if "open" in one
        }  # fmt: skip
        for start, values in expected.items():
            assert found.get(start) == pytest.approx(values, rel=1e-12), (start, newest)
        return True

    eventually(same)
    at_us = newest * 1000 - 5 * MINUTE_MS * 1000
    streamed.publish(
        [],
        [change("gap-2", "permanent", 2, missing=3, from_ts=at_us + 1, to_ts=at_us + 2), change("halt-1", "halt", 3, from_ts=at_us, to_ts=at_us + 9)],
    )

    def marked() -> bool:
        marks = {(one["time"] * 1000, one["shape"]) for one in page.evaluate("window.cv.drawnChart().marks")}
        assert {(newest - 5 * MINUTE_MS, "arrowUp"), (newest - 5 * MINUTE_MS, "arrowDown")} <= marks, marks
        return True

    eventually(marked)
    page.locator(".cv-venue").select_option("polled")
    until_shown(page, ".cv-caption", "from polled prices")


def test_without_streams_there_is_no_such_page(market: Stack, open_page: Opener) -> None:
    seen = open_page(f"{market.url}/?view=trades")
    assert seen.page.locator("#cv-tab-trades, .cv-tape, script[src*=trades]").count() == 0
    assert seen.page.evaluate("document.body.dataset.view") == "market"
