"""Each fault of streams does exactly what it says, and nothing else."""

import asyncio
from itertools import pairwise

import aiohttp
import pytest

from market.stream_faults import STREAM_FAULT_KINDS
from tests.integration.market.feed import BTC, connected, made, runs, subscribed
from tests.integration.market.wire import NOON_MS

pytestmark = pytest.mark.integration

TESTED_KINDS = {
    *("stream_drop", "stream_duplicate", "stream_reorder", "stream_garbage", "stream_truncated", "stream_huge"),
    *("stream_silent", "stream_refused", "stream_max_age", "stream_slow_reader"),
    *("stream_half_open", "stream_close", "stream_shutdown", "stream_maintenance"),
    *("refill_late", "refill_short", "refill_limited", "trade_rate", "trade_id_jump"),
}
NOON_US = NOON_MS * 1_000


@pytest.fixture
def url(still):
    return str(still.base_url).rstrip("/")


@pytest.fixture
def fault(still):
    async def post(kind, provider="binance", *, count=None, every=1, duration_s=None, **parameters):
        body = {"provider": provider, "kind": kind, "parameters": parameters, "count": count, "every": every, "duration_s": duration_s}
        response = await still.post("/_market/faults", json=body)
        assert response.status_code == 201, response.text
        return response.json()

    return post


def test_every_kind_has_a_test():
    assert set(STREAM_FAULT_KINDS) == TESTED_KINDS


async def expected(still, venue, since_us=NOON_US + 1):
    return [row[0] for row in await made(still, venue, BTC[venue], since_us=since_us)]


async def arrived(feed, count):
    await feed.until(lambda _: len(feed.trade_ids()) >= count)
    return feed.trade_ids()


@pytest.mark.parametrize("venue", BTC)
async def test_dropped_trades_are_missing_from_the_stream_and_present_in_what_was_made(url, still, set_clock, fault, venue):
    async with subscribed(url, venue) as feed:
        await fault("stream_drop", venue, count=2, every=3)
        set_clock.advance(20)
        whole = await expected(still, venue)
        assert await arrived(feed, len(whole) - 2) == [whole[1], whole[2], *whole[4:]]
        [entry] = (await still.get("/_market/streams")).json()["connections"]
        sent = [trade_id for first, last in entry["sent"][BTC[venue]] for trade_id in range(first, last + 1)]
        assert [trade_id for trade_id in sent if trade_id >= whole[0]][-len(whole) + 2 :] == feed.trade_ids()


@pytest.mark.parametrize("venue", BTC)
async def test_duplicates_and_reordered_trades(url, still, set_clock, fault, venue):
    async with subscribed(url, venue) as feed:
        await fault("stream_duplicate", venue, count=1)
        set_clock.advance(5)
        whole = await expected(still, venue)
        assert await arrived(feed, len(whole) + 1) == [whole[0], *whole]
        await fault("stream_reorder", venue, count=1)
        set_clock.advance(5)
        longer = await expected(still, venue)
        fresh = longer[len(whole) :]
        assert (await arrived(feed, len(longer) + 1))[len(whole) + 1 :] == [fresh[1], fresh[0], *fresh[2:]]


async def test_garbage_truncated_and_huge_frames(url, still, set_clock, fault):
    async with subscribed(url, "binance") as feed:
        await fault("stream_garbage", count=1, text="<html>")
        set_clock.advance(3)
        await feed.until_texts(3)
        assert feed.texts[1] == "<html>"
        assert '"e":"trade"' in feed.texts[2]
        await arrived(feed, len(await expected(still, "binance")))
        before = len(feed.texts)
        await fault("stream_truncated", count=1, fraction=0.25)
        set_clock.advance(3)
        await feed.until_texts(before + 1)
        cut = feed.texts[before]
        whole = feed.texts[before - 1]
        assert cut.startswith('{"e":"trade"')
        assert abs(len(cut) - len(whole) // 4) <= 1
        await arrived(feed, len(await expected(still, "binance")) - 1)
        before = len(feed.texts)
        await fault("stream_huge", count=1, size_bytes=2_000_000)
        set_clock.advance(3)
        await feed.until_texts(before + 1)
        assert max(len(text) for text in feed.texts[before:]) == 2_000_000


async def test_silence_with_heartbeats(url, set_clock, fault, still):
    async with connected(url, "/coinbase") as feed:
        await feed.send({"type": "subscribe", "product_ids": ["BTC-USD", "ETH-USD"], "channels": ["matches", "heartbeat"]})
        await feed.until(lambda messages: len(messages) == 3)
        await fault("stream_silent", "coinbase", symbols=["BTC-USD"], duration_s=9)
        set_clock.advance(5)
        await feed.until(lambda messages: {m["product_id"] for m in messages if m["type"] == "heartbeat"} == {"BTC-USD", "ETH-USD"})
        await feed.until(lambda messages: any(m["type"] == "match" for m in messages))
        assert {m["product_id"] for m in feed.messages if m["type"] == "match"} == {"ETH-USD"}
        set_clock.advance(5)  # the fault is over: its trades are not sent later
        await feed.until(lambda messages: any(m["type"] == "match" and m["product_id"] == "BTC-USD" for m in messages))
    ids = [m["trade_id"] for m in feed.messages if m["type"] == "match" and m["product_id"] == "BTC-USD"]
    whole = await expected(still, "coinbase")
    assert ids == whole[-len(ids) :]
    assert len(ids) < len(whole)


@pytest.mark.parametrize("venue", BTC)
async def test_a_refused_symbol(url, fault, venue, set_clock):
    await fault("stream_refused", venue, symbols=[BTC[venue]])
    async with connected(url, {"binance": "/binance/ws", "kraken": "/kraken/v2", "coinbase": "/coinbase"}[venue]) as feed:
        ask = {
            "binance": {"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1},
            "kraken": {"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"]}},
            "coinbase": {"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["matches"]},
        }[venue]
        await feed.send(ask)
        await feed.until(lambda messages: len(messages) == (2 if venue == "kraken" else 1))
        set_clock.advance(2)
        answer = feed.messages[-1]
    if venue == "binance":  # silence
        assert answer == {"result": None, "id": 1}
    elif venue == "kraken":
        assert (answer["success"], answer["error"]) == (False, "Currency pair not supported BTC/USD")
    else:
        assert answer == {"type": "error", "message": "Failed to subscribe", "reason": "BTC-USD is not a valid product"}


async def test_half_open_connections_get_nothing_and_no_close(url, set_clock, fault, still):
    async with subscribed(url, "kraken") as feed:
        await fault("stream_half_open", "kraken")
        count = len(feed.texts)
        async with subscribed(url, "kraken") as fresh:
            set_clock.advance(5)
            await fresh.until(lambda _: fresh.trade_ids())
            await feed.send({"method": "ping"})
            await fresh.send({"method": "ping"})
            await fresh.until(lambda messages: any(message.get("method") == "pong" for message in messages))
        assert (len(feed.texts), feed.close_code) == (count, None)
        [entry] = [each for each in (await still.get("/_market/streams")).json()["connections"] if each["connection"] == 1]
        assert entry["closed_ms"] is None


async def test_connections_are_closed_with_a_code_or_without(url, fault):
    async with subscribed(url, "binance") as feed, subscribed(url, "kraken") as other:
        await fault("stream_close", code=1012, reason="restart")
        assert await feed.closed() == 1012
        assert other.close_code is None
        await fault("stream_close", "kraken", code=1006)
        assert await other.closed() == 1006


async def test_a_maximum_age(url, set_clock, fault, still):
    await fault("stream_max_age", seconds=86.4)
    async with subscribed(url, "binance") as feed:
        set_clock.advance(86)
        await arrived(feed, 1)
        assert feed.close_code is None
        set_clock.advance(0.5)
        assert await feed.closed() == 1001
        async with subscribed(url, "binance") as again:
            set_clock.advance(1)
            await arrived(again, 1)
    ids = feed.trade_ids() + again.trade_ids()
    whole = await expected(still, "binance")
    assert set(ids) <= set(whole)
    assert len(set(ids)) == len(ids)


async def test_an_announced_shutdown(url, set_clock, fault):
    async with (
        connected(url, "/binance/stream?streams=btcusdt@trade") as wrapped,
        subscribed(url, "binance") as raw,
        subscribed(url, "kraken") as kraken,
    ):
        await wrapped.send({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        await wrapped.until(lambda messages: messages)
        await fault("stream_shutdown", "*", announce_s=10)
        event = {"e": "serverShutdown", "E": NOON_MS}
        await wrapped.until(lambda messages: {"stream": "!serverShutdown", "data": event} in messages)
        await raw.until(lambda messages: event in messages)
        await kraken.until(lambda messages: messages[-1].get("channel") == "status" and messages[-1]["data"][0]["system"] == "maintenance")
        async with subscribed(url, "binance") as successor:
            set_clock.advance(9.9)
            await arrived(raw, 1)
            set_clock.advance(0.2)
            assert [await feed.closed() for feed in (wrapped, raw, kraken)] == [1001] * 3
            count = len(successor.trade_ids())
            set_clock.advance(2)
            await arrived(successor, count + 1)
    # the successor overlaps the old connection
    assert set(raw.trade_ids()) & set(successor.trade_ids())


async def test_a_maintenance_is_announced_and_refuses_connections(url, set_clock, fault):
    async with subscribed(url, "kraken") as feed:
        await fault("stream_maintenance", "kraken", announce_s=30, down_s=60)
        await feed.until(lambda messages: "upcoming_maintenance" in str(messages[-1]))
        [window] = feed.messages[-1]["data"][0]["upcoming_maintenance"]
        assert (window["expected_start_utc"], window["expected_end_utc"]) == ("2026-11-24T12:00:30Z", "2026-11-24T12:01:30Z")
        set_clock.advance(31)
        assert await feed.closed() == 1001
        assert feed.messages[-1]["data"][0]["system"] == "maintenance"
        with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
            async with connected(url, "/kraken/v2"):
                pass
        set_clock.advance(60)
        async with subscribed(url, "kraken"):
            pass


async def test_a_slow_reader_is_reset(url, set_clock, fault, still):
    await fault("stream_slow_reader", buffer_bytes=4_096)
    await fault("trade_rate", per_s=1_000, symbols=["BTCUSDT"])
    async with subscribed(url, "binance") as feed:
        feed._task.cancel()  # it reads no more
        for _ in range(200):
            set_clock.advance(10)
            entry = (await still.get("/_market/streams")).json()["connections"][0]
            if entry["closed_ms"] is not None:
                break
            await asyncio.sleep(0.03)
        assert entry["close_reason"] == "slow reader"


async def test_a_halt_has_no_trades_and_ids_continue_after_it(url, set_clock, fault, still):
    await fault("trade_rate", "kraken", per_s=0, duration_s=60, symbols=["BTC/USD"])
    async with subscribed(url, "kraken") as feed:
        set_clock.advance(120)
        await arrived(feed, 60)
    rows = await made(still, "kraken", "BTC/USD", since_us=NOON_US)
    assert runs([row[0] for row in rows])
    assert feed.trade_ids() == [row[0] for row in rows if row[4] > NOON_US]
    assert max(later[4] - earlier[4] for earlier, later in pairwise(rows)) >= 60_000_000
    # Kraken's REST fills the quiet minute, its stream leaves it out
    rest = (await still.get("/kraken/0/public/OHLC", params={"pair": "XBTUSD"})).json()["result"]["XXBTZUSD"]
    assert all(row[7] > 0 for row in rest[:-3])


async def test_a_burst_of_a_thousand_trades_in_a_second(url, set_clock, fault, still):
    async with subscribed(url, "binance") as feed:
        burst = await fault("trade_rate", per_s=1_000, symbols=["BTCUSDT"], duration_s=1)
        set_clock.advance(4)
        whole = await expected(still, "binance")
        assert 1_000 < len(whole) < 1_010
        assert await arrived(feed, len(whole)) == whole
        assert burst["remaining_s"] == 1


async def test_a_rate_ends_when_its_fault_is_deleted(set_clock, fault, still):
    active = await fault("trade_rate", "coinbase", per_s=50)
    set_clock.advance(10)
    await still.delete(f"/_market/faults?id={active['id']}")
    set_clock.advance(101)
    whole = await expected(still, "coinbase")
    assert 10 * 50 + 100 * 1.7 - 3 <= len(whole) <= 10 * 50 + 102 * 1.7 + 52


async def test_ids_jump(url, set_clock, fault, still):
    async with subscribed(url, "binance") as feed:
        await fault("trade_id_jump", by=5_000)
        set_clock.advance(20)
        whole = await expected(still, "binance", NOON_US)
        assert await arrived(feed, len(whole) - 1) == whole[1:]
    jumps = [later - earlier for earlier, later in pairwise(whole) if later != earlier + 1]
    assert jumps == [5_001]


async def test_clock_skew_shifts_the_times_of_frames(url, set_clock, fault, still):
    await fault("clock_skew", seconds=3_600)
    async with subscribed(url, "binance") as feed:
        set_clock.advance(3)
        await arrived(feed, 1)
    [_, trade, *_] = feed.messages
    row = next(row for row in await made(still, "binance", "BTCUSDT", since_us=NOON_US) if row[0] == trade["t"])
    assert trade["T"] == row[4] // 1_000 + 3_600_000


async def test_handshakes_meet_the_faults_of_http(url, fault):
    await fault("http_status", status=429, count=1)
    with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
        async with connected(url, "/binance/ws/btcusdt@trade"):
            pass
    async with connected(url, "/binance/ws/btcusdt@trade"):
        pass
