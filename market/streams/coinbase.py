"""Coinbase Exchange's feed: `matches`, `ticker`, `ticker_batch`, `heartbeat`. As documented at docs.cdp.coinbase.com and seen in recorded frames.

The side of a match is the maker's, that of a ticker the taker's. An unknown product refuses the whole message. `sequence` counts the product's full
feed, so it jumps.
"""

from __future__ import annotations

import json
from typing import Any

from market.streams.connection import Connection
from market.streams.protocol import Frame, Hub, Key, StreamProtocol, Update, iso_us, load
from market.tape import Trade

__all__ = ["CoinbaseStreams", "sequence_of"]

_CHANNELS = {"matches": "matches", "ticker": "ticker", "ticker_batch": "ticker_1000", "heartbeat": "heartbeat"}
"""The names in acknowledgements."""
_SUBSCRIBE_WITHIN_S = 5.0
_BATCH_S = 5
_MESSAGES_PER_TRADE = 7
"""Of the product's full feed, for the sequence numbers."""


class CoinbaseStreams(StreamProtocol):
    """Coinbase's protocol."""

    venue = "coinbase"
    trade_channels = ("matches",)

    def valid_path(self, path: str) -> bool:
        return path in ("", "/")

    def opened(self, connection: Connection, hub: Hub) -> None:
        """Nothing is sent before the client subscribes."""

    def announce(self, connection: Connection, hub: Hub, start_us: int | None, end_us: int | None) -> None:
        """The feed has no announcements."""

    def received(self, connection: Connection, text: str, hub: Hub) -> None:
        message = load(text)
        if not isinstance(message, dict):
            _refuse(connection, "Malformed JSON", None)
            return
        if message.get("type") not in ("subscribe", "unsubscribe"):
            _refuse(connection, "Type has to be either subscribe or unsubscribe", None)
            return
        asked = _pairs(message)
        if not asked:
            _refuse(connection, "Failed to subscribe", "channels and product_ids must be provided")
            return
        if problem := self._problem(asked, hub):
            _refuse(connection, "Failed to subscribe", problem)
            return
        keys = [Key(channel, product) for channel, product in asked]
        if message["type"] == "unsubscribe":
            for key in keys:
                hub.unsubscribe(connection, key)
            connection.send(_subscriptions(list(connection.subscriptions)))
            return
        fresh = [key for key in keys if key not in connection.subscriptions]
        updates = [hub.subscribe(connection, key) for key in fresh]
        connection.send(_subscriptions(list(connection.subscriptions)))
        for key, update in zip(fresh, updates, strict=True):
            for trade in hub.last_trades(update.instrument, 1) if key.channel == "matches" else ():
                hub.send(connection, key.symbol, Frame(_match(key.symbol, trade, update, "last_match"), [trade]))

    def _problem(self, asked: list[tuple[str, str]], hub: Hub) -> str | None:
        known, refused = hub.instruments(self.venue), hub.refused(self.venue)
        for channel, product in asked:
            if channel not in _CHANNELS:
                return f"{channel} is not a valid channel"
            if product not in known or refused(product):
                return f"{product} is not a valid product"
        return None

    def frames(self, key: Key, update: Update) -> list[Frame]:
        match key.channel:
            case "matches":
                return [Frame(_match(key.symbol, trade, update, "match"), [trade]) for trade in update.trades]
            case "heartbeat":
                return [Frame(_heartbeat(key.symbol, update), [])] if update.new_second else []
            case "ticker":
                # only the last of the trades that came at once: the channel skips ids
                return [Frame(_ticker(key.symbol, update.trades[-1], update), [])] if update.trades else []
            case _:
                due = update.trades and update.now_s // _BATCH_S > update.last_s // _BATCH_S
                return [Frame(_ticker(key.symbol, update.trades[-1], update), [])] if due else []

    def beat(self, connection: Connection, now_s: float, hub: Hub) -> None:
        del hub
        if not connection.received_s and now_s - connection.opened_s > _SUBSCRIBE_WITHIN_S:
            connection.close(1008, "Subscription timeout")


def _pairs(message: dict[str, Any]) -> list[tuple[str, str]]:
    """(channel, product) of a request; empty if it is malformed."""
    channels, products = message.get("channels"), message.get("product_ids", [])
    if not isinstance(channels, list) or not isinstance(products, list):
        return []
    found: list[tuple[str, str]] = []
    for channel in channels:
        name = channel.get("name") if isinstance(channel, dict) else channel
        own = channel.get("product_ids", products) if isinstance(channel, dict) else products
        if not isinstance(own, list):
            return []
        found += [(str(name), str(product)) for product in own]
    return found


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _refuse(connection: Connection, message: str, reason: str | None) -> None:
    connection.send(_json({"type": "error", "message": message} | ({} if reason is None else {"reason": reason})))


def _subscriptions(keys: list[Any]) -> str:
    """The whole set, by channel."""
    channels: dict[str, list[str]] = {}
    for key in keys:
        channels.setdefault(_CHANNELS[key.channel], []).append(key.symbol)
    shown = [{"name": name, "product_ids": products, "account_ids": None} for name, products in channels.items()]
    return _json({"type": "subscriptions", "channels": shown})


def sequence_of(trade_id: int) -> int:
    """Sequence number of a match in the product's full feed."""
    return trade_id * _MESSAGES_PER_TRADE


def _match(symbol: str, trade: Trade, update: Update, kind: str) -> str:
    steps, order = update.instrument.steps, f"{trade.trade_id:012x}"
    return (
        f'{{"type":"{kind}","trade_id":{trade.trade_id},"maker_order_id":"00000000-0000-4000-8000-{order}",'
        f'"taker_order_id":"00000000-0000-4000-9000-{order}","side":"{"sell" if trade.buy else "buy"}","size":"{steps.size_text(trade.size)}",'
        f'"price":"{steps.price_text(trade.price)}","product_id":"{symbol}","sequence":{sequence_of(trade.trade_id)},'
        f'"time":"{iso_us(update.stamp(trade.time_us))}"}}'
    )


def _heartbeat(symbol: str, update: Update) -> str:
    last_id = update.instrument.tape.count(update.now_s * 1_000_000)
    return _json(
        {
            "type": "heartbeat",
            "last_trade_id": last_id,
            "product_id": symbol,
            "sequence": sequence_of(last_id) + 1,
            "time": iso_us(update.now_us),
        }
    )


def _ticker(symbol: str, trade: Trade, update: Update) -> str:
    # of the trade's second, which can be before that of the update
    steps, (bid, bid_size, ask, ask_size) = update.instrument.steps, update.best_at(trade.time_us // 1_000_000)
    opened, high, low, volume = update.day()
    digits = steps.price
    return _json(
        {
            "type": "ticker",
            "sequence": sequence_of(trade.trade_id),
            "product_id": symbol,
            "price": steps.price_text(trade.price),
            "open_24h": f"{opened:.{digits}f}",
            "volume_24h": f"{volume:.8f}",
            "low_24h": f"{low:.{digits}f}",
            "high_24h": f"{high:.{digits}f}",
            "volume_30d": f"{volume * 30:.8f}",
            "best_bid": steps.price_text(bid),
            "best_bid_size": steps.size_text(bid_size),
            "best_ask": steps.price_text(ask),
            "best_ask_size": steps.size_text(ask_size),
            "side": "buy" if trade.buy else "sell",
            "time": iso_us(update.stamp(trade.time_us)),
            "trade_id": trade.trade_id,
            "last_size": steps.size_text(trade.size),
        }
    )
