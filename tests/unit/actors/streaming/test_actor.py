"""What the actor does with quotes: they have channel, sample and counts of their own, beside the trades."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson

from actors.publishing.transaction import KafkaTransaction, Message, Refused
from actors.streaming.actor import StreamActor, instruments_of, utc_us
from actors.streaming.core import StreamCore
from actors.streaming.quote_sampler import QuoteSampler
from cryptoviz.errors import FrameError
from cryptoviz.settings import load_settings
from cryptoviz.venues.events import Acked, Quote, Trades
from cryptoviz.venues.events import Refused as SymbolRefused
from cryptoviz.venues.registry import venue_of
from cryptoviz.venues.spec import Channel
from tests.support.clock import FakeClock
from tests.support.waiting import eventually_async
from tests.unit.actors.streaming.fakes import frame, trade

QUOTE = Quote("BTCUSDT", "37000.4", "1", "37000.6", "2", None, 1_764_000_000_000_000)


async def actor_of(home: Path, **streams: Any) -> StreamActor:
    """Everything that `start` makes, but for Kafka and the connections."""
    settings = load_settings(home=home, streams={"venues": ["binance"], "instruments": ["BTC", "ETH"]} | streams)
    actor, venue, clock = StreamActor(settings, "binance"), venue_of("binance"), FakeClock()
    instruments = instruments_of(venue, settings, 0)
    actor._clock, actor._venue = clock, venue
    actor._core = StreamCore(venue.spec, instruments, clock, utc_us)
    actor._quotes = QuoteSampler("binance", instruments if settings.streams.quotes else (), settings.kafka.quotes_topic, clock)
    return actor


def channels(actor: StreamActor) -> tuple[Channel, ...]:
    assert actor._core is not None
    return actor._connection([feed.instrument for feed in actor._core.feeds.values()])._session.channels


async def test_quotes_are_requested_only_if_they_are_on(tmp_path: Path) -> None:
    assert channels(await actor_of(tmp_path)) == (Channel.TRADES,)
    assert channels(await actor_of(tmp_path, quote_s=1)) == (Channel.TRADES, Channel.QUOTES)


async def test_a_channel_is_acknowledged_and_refused_by_itself(tmp_path: Path) -> None:
    actor = await actor_of(tmp_path, quote_s=1)
    assert actor._core is not None
    feeds = actor._core.feeds
    actor.acked(Acked("BTCUSDT", Channel.QUOTES))
    actor.acked(Acked("ETHUSDT", Channel.TRADES))
    assert {symbol: feed.acked for symbol, feed in feeds.items()} == {"BTCUSDT": False, "ETHUSDT": True}
    assert actor._quotes.metrics()["quotes_acked"] == 1.0
    actor.refused(SymbolRefused("ETHUSDT", Channel.QUOTES, "no"))
    actor.refused(SymbolRefused("", "", "rate limit"))
    assert (feeds["ETHUSDT"].acked, feeds["ETHUSDT"].refusal) == (True, "")
    assert actor._quotes.problems() == ["quotes of ETHUSDT are refused: no"]


async def test_a_sample_is_in_the_next_transaction_and_no_trade(tmp_path: Path) -> None:
    actor = await actor_of(tmp_path, quote_s=0.5)
    core, clock = actor._core, actor._clock
    assert core is not None
    assert isinstance(clock, FakeClock)
    actor.quote(QUOTE)
    assert not core.has_news
    task = asyncio.create_task(actor._record_quotes(core))

    async def sampled() -> bool:
        return core.has_news

    await eventually_async(sampled, every_s=0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert clock.slept[0] == 0.5
    assert (core.pending, actor._queued, core.feeds["BTCUSDT"].data_s) == (0, 0, None)
    actor.trades(Trades((trade(1),)))
    transaction = core.take_transaction()
    assert transaction is not None
    assert [orjson.loads(one.value)["trade_number"] for one in transaction.messages] == [1]
    ((quote),) = transaction.audit_records
    assert (quote.topic, quote.key, orjson.loads(quote.value)["bid"]) == ("crypto-quotes", b"binance:BTCUSDT", "37000.4")
    actor.acknowledged(transaction, 1.0)
    assert actor._quotes.metrics()["quotes_recorded_total"] == 1.0


async def test_a_quote_that_kafka_refuses_is_not_counted_as_a_trade(tmp_path: Path) -> None:
    actor = await actor_of(tmp_path, quote_s=1)
    actor._offered = 5
    actor.record_refused(Refused(Message(b"k", b'{"quote_id":"a-1"}', "crypto-quotes"), "too large"))
    assert (actor._records_refused, actor._queued) == (1, 5)
    actor.record_refused(Refused(Message(b"k", trade(1).to_json()), "too large"))
    assert actor._queued == 4


async def test_bad_quotes_are_bad_frames(tmp_path: Path) -> None:
    actor = await actor_of(tmp_path, quote_s=1)
    for reason in ("quote", "quote", "not_json"):
        actor.bad_frame(FrameError("no", venue="binance", reason=reason))
    assert (actor._bad_frames, actor._quotes.metrics()["bad_quotes_total"]) == (3, 2.0)


async def test_without_quotes_there_is_no_metric_of_them_and_transactions_are_as_before(tmp_path: Path) -> None:
    actor = await actor_of(tmp_path)
    actor.quote(QUOTE)
    actor.trades(frame(1, 2))
    assert actor._core is not None
    transaction = actor._core.take_transaction()
    assert isinstance(transaction, KafkaTransaction)
    actor.acknowledged(transaction, 1.0)
    assert (len(transaction.messages), transaction.audit_records, actor._quotes.metrics()) == (2, (), {})
