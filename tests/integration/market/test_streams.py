"""The frames of the three venues' streams, by hand: shapes, acknowledgements, refusals, heartbeats, snapshots, candles."""

from datetime import datetime
from decimal import Decimal

import aiohttp
import pytest

from tests.integration.market.feed import BTC, connected, ids_in, made, runs, subscribed
from tests.integration.market.wire import NOON_MS

pytestmark = pytest.mark.integration

NOON_US = NOON_MS * 1_000


async def listed(feed):
    """Wait until the subscriptions of a Binance URL are in effect."""
    await feed.send({"method": "LIST_SUBSCRIPTIONS", "id": "listed"})
    await feed.until(lambda messages: any(message.get("id") == "listed" for message in messages))


def us(text):
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000)


@pytest.fixture
def url(still):
    return str(still.base_url).rstrip("/")


async def test_binance_trades(url, still, set_clock):
    async with subscribed(url, "binance") as feed:
        set_clock.advance(60)
        await feed.until(lambda messages: sum(message.get("e") == "trade" for message in messages) == 102)
    [ack, *trades] = feed.messages
    assert ack == {"result": None, "id": 1}
    rows = await made(still, "binance", "BTCUSDT", since_us=NOON_US + 1)
    assert len(rows) == 102
    for trade, (trade_id, price, size, side, time_us) in zip(trades, rows, strict=True):
        time_ms = time_us // 1_000
        amounts = {"p": f"{Decimal(price):.8f}", "q": f"{Decimal(size):.8f}"}
        ids = {"e": "trade", "E": time_ms, "s": "BTCUSDT", "t": trade_id}
        assert trade == ids | amounts | {"T": time_ms, "m": side == "sell", "M": True}


async def test_binance_combined_streams_by_url_with_microseconds(url, set_clock):
    path = "/binance/stream?streams=btcusdt@trade/ethusdt@bookTicker&timeUnit=MICROSECOND"
    async with connected(url, path) as feed:
        await listed(feed)
        set_clock.advance(2)
        await feed.until(lambda messages: {message.get("stream") for message in messages} >= {"btcusdt@trade", "ethusdt@bookTicker"})
    trade = next(message["data"] for message in feed.messages if message.get("stream") == "btcusdt@trade")
    assert NOON_US < trade["T"] <= NOON_US + 2_000_000
    book = next(message["data"] for message in feed.messages if message.get("stream") == "ethusdt@bookTicker")
    assert set(book) == {"u", "s", "b", "B", "a", "A"}
    assert Decimal(book["a"]) - Decimal(book["b"]) == Decimal("0.02")


async def test_binance_messages(url):
    async with connected(url, "/binance/ws/btcusdt@trade") as feed:
        await feed.send({"method": "SUBSCRIBE", "params": ["nosuch@trade", "BTCUSDT@trade"], "id": "a"})
        await feed.send({"method": "LIST_SUBSCRIPTIONS", "id": 2})
        await feed.send({"method": "UNSUBSCRIBE", "params": ["btcusdt@trade"], "id": 3})
        await feed.send({"method": "FLY", "id": 4})
        await feed.until(lambda messages: len(messages) >= 4)
        await feed.send("{")
        await feed.until(lambda messages: len(messages) >= 5)
    assert feed.messages == [
        # a stream that does not exist is acknowledged, and silent
        {"result": None, "id": "a"},
        {"result": ["btcusdt@trade", "nosuch@trade", "BTCUSDT@trade"], "id": 2},
        {"result": None, "id": 3},
        {"error": {"code": 2, "msg": "Invalid request: unknown variant `FLY`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`"}, "id": 4},
        {"error": {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}, "id": None},
    ]


async def test_binance_closes_a_client_that_sends_more_than_five_messages_a_second(url):
    async with connected(url, "/binance/ws") as feed:
        for number in range(6):
            await feed.send({"method": "LIST_SUBSCRIPTIONS", "id": number})
        assert await feed.closed() == 1008


async def test_binance_pings_and_closes_without_a_pong(url, set_clock):
    async with connected(url, "/binance/ws/btcusdt@trade") as feed:
        set_clock.advance(20)
        await feed.until(lambda _: len(feed.pings) == 1)
        assert feed.pings == [str(NOON_MS + 20_000).encode()]
        await feed.send({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        await feed.until(lambda messages: messages[-1].get("id") == 1)
        feed.silent = True
        for _ in range(5):
            set_clock.advance(20)
            count = len(feed.pings)
            await feed.until(lambda _, count=count: len(feed.pings) > count or feed.close_code)
        assert await feed.closed() == 1008


async def test_binance_closed_klines_equal_rest_klines_and_the_trades(url, still, set_clock):
    async with connected(url, "/binance/ws/btcusdt@trade/btcusdt@kline_1m") as feed:
        await listed(feed)
        for _ in range(3):
            set_clock.advance(60)
            count = sum(message.get("e") == "kline" for message in feed.messages)
            await feed.until(lambda messages, count=count: sum(message.get("e") == "kline" for message in messages) > count)
    klines = [message["k"] for message in feed.messages if message.get("e") == "kline"]
    assert [kline["x"] for kline in klines] == [True] * 3
    rest = (await still.get("/binance/api/v3/klines", params={"symbol": "BTCUSDT", "interval": "1m", "startTime": NOON_MS, "limit": 3})).json()
    for number, (kline, row) in enumerate(zip(klines, rest, strict=True)):
        begin = NOON_MS + number * 60_000
        inside = [message for message in feed.messages if message.get("e") == "trade" and begin <= message["T"] < begin + 60_000]
        if number == 0:  # the first trade of a minute is at its start, and the client subscribed at that time
            first = (await made(still, "binance", "BTCUSDT", since_us=NOON_US, until_us=NOON_US))[0]
            inside = [{"t": first[0], "p": first[1], "q": first[2], "m": first[3] == "sell"}, *inside]
        prices = [Decimal(trade["p"]) for trade in inside]
        sizes = [Decimal(trade["q"]) for trade in inside]
        bought = [(Decimal(trade["p"]), Decimal(trade["q"])) for trade in inside if not trade["m"]]
        assert (kline["t"], kline["T"], kline["f"], kline["L"], kline["n"]) == (begin, begin + 59_999, inside[0]["t"], inside[-1]["t"], len(inside))
        assert [Decimal(kline[name]) for name in "ohlc"] == [prices[0], max(prices), min(prices), prices[-1]]
        assert Decimal(kline["v"]) == sum(sizes)
        assert Decimal(kline["q"]) == sum(price * size for price, size in zip(prices, sizes, strict=True))
        assert Decimal(kline["V"]) == sum(size for _, size in bought)
        assert Decimal(kline["Q"]) == sum(price * size for price, size in bought)
        assert row == [*(kline[name] for name in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q")), "0"]


async def test_kraken_trades_and_their_snapshot(url, still, set_clock):
    async with connected(url, "/kraken/v2") as feed:
        await feed.send({"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD", "XBT/USD"], "snapshot": True}, "req_id": 9})
        await feed.until(lambda messages: len(messages) == 4)
        set_clock.advance(10)
        await feed.until(lambda messages: messages[-1].get("type") == "update")
    status, ack, snapshot, refusal, update = feed.messages
    assert status == {
        "channel": "status",
        "data": [{"api_version": "v2", "connection_id": 13834774380200000001, "system": "online", "version": "2.0.9"}],
        "type": "update",
    }
    times = {"time_in": "2026-11-24T12:00:00.000000Z", "time_out": "2026-11-24T12:00:00.000000Z", "req_id": 9}
    assert ack == {"method": "subscribe", "result": {"channel": "trade", "snapshot": True, "symbol": "BTC/USD"}, "success": True} | times
    text = "Currency pair not supported XBT/USD"
    assert refusal == {"error": text, "method": "subscribe", "success": False, "symbol": "XBT/USD"} | times
    assert len(snapshot["data"]) == 50
    assert us(snapshot["data"][-1]["timestamp"]) <= NOON_US
    ids = [row["trade_id"] for row in snapshot["data"] + update["data"]]
    assert runs(ids)
    rows = {row[0]: row for row in await made(still, "kraken", "BTC/USD", from_id=ids[0])}
    for row in snapshot["data"] + update["data"]:
        trade_id, price, size, side, time_us = rows[row["trade_id"]]
        assert (row["symbol"], row["side"], row["ord_type"], us(row["timestamp"])) == ("BTC/USD", side, "market", time_us)
        # bare numbers, with all decimals
        assert f'"price":{price},"qty":{size},"ord_type":"market","trade_id":{trade_id},' in feed.texts[2] + feed.texts[4]


async def test_kraken_ohlc_equals_rest(url, still, set_clock):
    async with connected(url, "/kraken/v2") as feed:
        await feed.send({"method": "subscribe", "params": {"channel": "ohlc", "symbol": ["BTC/USD"], "interval": 1}})
        await feed.until(lambda messages: len(messages) == 3)
        set_clock.advance(60)
        await feed.until(lambda messages: messages[-1]["type"] == "update")
    _, ack, snapshot, *updates = feed.messages
    assert ack["result"]["warnings"] == ["timestamp is deprecated, use interval_begin"]
    assert len(snapshot["data"]) == 60
    closed = updates[0]["data"][0]
    assert (closed["interval_begin"], closed["timestamp"]) == ("2026-11-24T12:00:00.000000000Z", "2026-11-24T12:01:00.000000Z")
    rest = (await still.get("/kraken/0/public/OHLC", params={"pair": "XBTUSD", "since": NOON_MS // 1_000 - 60})).json()["result"]["XXBTZUSD"]
    row = next(row for row in rest if row[0] == NOON_MS // 1_000)
    assert [f"{closed[name]:.1f}" for name in ("open", "high", "low", "close", "vwap")] == row[1:6]
    assert [f"{closed['volume']:.8f}", closed["trades"]] == row[6:]


async def test_kraken_heartbeats_pong_ticker_and_errors(url, still, set_clock):
    async with connected(url, "/kraken/v2") as feed:
        await feed.send({"method": "ping", "req_id": 101})
        await feed.send({"method": "subscribe", "params": {"channel": "ticker", "symbol": ["ETH/USD"], "event_trigger": "bbo"}})
        await feed.send({"method": "subscribe", "params": {"channel": "level9", "symbol": ["ETH/USD"]}})
        await feed.until(lambda messages: len(messages) == 5)
        # a second without data
        set_clock.ms += 999
        await feed.send({"method": "ping"})
        await feed.until(lambda messages: len(messages) == 6)
        assert {"channel": "heartbeat"} not in feed.messages
    async with subscribed(url, "kraken") as idle:
        await still.post("/_market/faults", json={"provider": "kraken", "kind": "stream_silent"})
        set_clock.advance(1)
        await idle.until(lambda messages: {"channel": "heartbeat"} in messages)
    _, pong, ack, snapshot, error, _ = feed.messages
    assert (pong["method"], pong["req_id"]) == ("pong", 101)
    assert ack["result"] == {"channel": "ticker", "snapshot": True, "symbol": "ETH/USD", "event_trigger": "bbo"}
    assert (snapshot["type"], snapshot["data"][0]["bid"] < snapshot["data"][0]["ask"]) == ("snapshot", True)
    assert error["error"] == "Channel name invalid: level9"


async def test_coinbase_matches_heartbeats_and_ticker(url, still, set_clock):
    async with connected(url, "/coinbase") as feed:
        await feed.send({"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["matches", "heartbeat", "ticker", "ticker_batch"]})
        await feed.until(lambda messages: len(messages) == 2)
        set_clock.advance(10)
        await feed.until(lambda messages: {message["type"] for message in messages} >= {"match", "ticker", "heartbeat"})
    ack, last, *rest = feed.messages
    names = ("matches", "heartbeat", "ticker", "ticker_1000")
    assert ack == {
        "type": "subscriptions",
        "channels": [{"name": name, "product_ids": ["BTC-USD"], "account_ids": None} for name in names],
    }
    matches = [message for message in rest if message["type"] == "match"]
    assert last["type"] == "last_match"
    assert runs([last["trade_id"], *(match["trade_id"] for match in matches)])
    rows = {row[0]: row for row in await made(still, "coinbase", "BTC-USD", from_id=last["trade_id"])}
    for match in (last, *matches):
        trade_id, price, size, side, time_us = rows[match["trade_id"]]
        maker = {"buy": "sell", "sell": "buy"}[side]
        assert (match["price"], match["size"], match["side"], us(match["time"])) == (price, size, maker, time_us)
        assert match["sequence"] == 7 * trade_id
    ticker = next(message for message in rest if message["type"] == "ticker")
    assert (ticker["trade_id"], ticker["side"]) == (matches[-1]["trade_id"], rows[matches[-1]["trade_id"]][3])
    beat = next(message for message in rest if message["type"] == "heartbeat")
    assert set(beat) == {"type", "last_trade_id", "product_id", "sequence", "time"}


async def test_coinbase_refuses_and_closes_without_a_subscription(url, set_clock):
    async with connected(url, "/coinbase") as feed:
        await feed.send({"type": "subscribe", "product_ids": ["BTC-USD", "NO-USD"], "channels": ["matches"]})
        await feed.until(lambda messages: messages)
        assert feed.messages == [{"type": "error", "message": "Failed to subscribe", "reason": "NO-USD is not a valid product"}]
    async with connected(url, "/coinbase") as idle:
        set_clock.advance(5.1)
        assert await idle.closed() == 1008


@pytest.mark.parametrize("venue", BTC)
async def test_unsubscribed_symbols_are_silent(url, set_clock, venue):
    other = {"binance": "ETHUSDT", "kraken": "ETH/USD", "coinbase": "ETH-USD"}[venue]
    end = {
        "binance": {"method": "UNSUBSCRIBE", "params": ["btcusdt@trade"], "id": 5},
        "kraken": {"method": "unsubscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"]}},
        "coinbase": {"type": "unsubscribe", "product_ids": ["BTC-USD"], "channels": ["matches"]},
    }[venue]
    async with subscribed(url, venue, [BTC[venue], other]) as feed:
        count = len(feed.messages)
        await feed.send(end)
        await feed.until(lambda messages: len(messages) > count)
        set_clock.advance(5)
        await feed.until(lambda messages: ids_in(messages[-1]))
    symbols = [row.get("s") or row.get("symbol") or row.get("product_id") for m in feed.messages if ids_in(m) for row in m.get("data", [m])]
    assert set(symbols) == {other}


async def test_paths_that_a_venue_does_not_upgrade(url):
    for path in ("/binance/nothing", "/kraken/v1", "/coingecko/ws"):
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with connected(url, path):
                pass


async def test_two_connections_get_the_same_bytes(url, set_clock):
    async with subscribed(url, "binance") as one, subscribed(url, "binance") as two:
        set_clock.advance(60)
        for feed in (one, two):
            await feed.until(lambda messages: len(messages) == 103)
    assert one.texts == two.texts
