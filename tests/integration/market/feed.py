"""A WebSocket client of the market's streams, which keeps the frames that it gets."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress

import aiohttp

from tests.support.waiting import eventually_async

SUBSCRIBE = {
    "binance": lambda symbols: {"method": "SUBSCRIBE", "params": [f"{symbol.lower()}@trade" for symbol in symbols], "id": 1},
    "kraken": lambda symbols: {"method": "subscribe", "params": {"channel": "trade", "symbol": symbols}},
    "coinbase": lambda symbols: {"type": "subscribe", "product_ids": symbols, "channels": ["matches"]},
}
PATHS = {"binance": "/binance/ws", "kraken": "/kraken/v2", "coinbase": "/coinbase"}
BTC = {"binance": "BTCUSDT", "kraken": "BTC/USD", "coinbase": "BTC-USD"}


class Feed:
    """`texts`: frames in the order of arrival. `pings`: payloads of pings; answered unless `silent`."""

    def __init__(self, socket):
        self.socket = socket
        self.texts = []
        self.pings = []
        self.silent = False
        self.close_code = None
        self._task = asyncio.create_task(self._read())

    async def _read(self):
        while True:
            message = await self.socket.receive()
            if message.type == aiohttp.WSMsgType.TEXT:
                self.texts.append(message.data)
            elif message.type == aiohttp.WSMsgType.PING:
                self.pings.append(message.data)
                if not self.silent:
                    await self.socket.pong(message.data)
            elif message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                self.close_code = message.data if message.type == aiohttp.WSMsgType.CLOSE else 1006
                return

    async def send(self, message):
        await self.socket.send_str(message if isinstance(message, str) else json.dumps(message))

    @property
    def messages(self):
        """The frames that are JSON."""
        found = []
        for text in self.texts:
            with suppress(ValueError):
                found.append(json.loads(text))
        return found

    async def until(self, holds):
        """Wait until `holds(messages)` is true, and return it. It may look at the last message before there is one."""

        async def check():
            with suppress(IndexError):
                return holds(self.messages)

        return await eventually_async(check, every_s=0.02)

    async def until_texts(self, count):
        """Wait for `count` frames, which need not be JSON."""

        async def check():
            return len(self.texts) >= count

        await eventually_async(check, every_s=0.02)

    async def closed(self):
        """Wait for the end of the connection and return the close code; 1006 without a close frame."""

        async def check():
            return self.close_code

        return await eventually_async(check, every_s=0.02)

    def trade_ids(self):
        """Ids of the trades, in the order of arrival, without snapshots."""
        return [trade_id for message in self.messages for trade_id in ids_in(message)]

    async def stop(self):
        self._task.cancel()
        await self.socket.close()


def ids_in(message):
    if message.get("e") == "trade":
        return [message["t"]]
    if message.get("channel") == "trade" and message["type"] == "update":
        return [row["trade_id"] for row in message["data"]]
    return [message["trade_id"]] if message.get("type") == "match" else []


@asynccontextmanager
async def connected(url, path, **how):
    """A feed connected to the market at an HTTP URL."""
    async with aiohttp.ClientSession() as session:
        feed = Feed(await session.ws_connect(url + path, autoping=False, max_msg_size=0, **how))
        try:
            yield feed
        finally:
            await feed.stop()


@asynccontextmanager
async def subscribed(url, venue, symbols=None):
    """A feed with the trades of a venue's symbols (bitcoin), acknowledged."""
    symbols = symbols or [BTC[venue]]
    async with connected(url, PATHS[venue]) as feed:
        await feed.send(SUBSCRIBE[venue](symbols))
        acks = {"binance": lambda message: "result" in message, "kraken": lambda message: "result" in message}
        acks["coinbase"] = lambda message: message["type"] == "subscriptions"
        await feed.until(lambda messages: sum(map(acks[venue], messages)) == (len(symbols) if venue == "kraken" else 1))
        yield feed


async def made(http, venue, symbol, **where):
    """The made trades `[id, price, size, side, us]`, all pages."""
    rows, query = [], {"venue": venue, "symbol": symbol, "limit": 10_000} | where
    while True:
        page = (await http.get("/_market/trades", params=query)).json()
        rows += page["trades"]
        if not page["trades"]:
            return rows
        query["from_id"] = page["next_from_id"]


def runs(ids):
    """Whether ids are contiguous and rising."""
    return ids == list(range(ids[0], ids[0] + len(ids)))
