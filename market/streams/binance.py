"""Binance spot streams: `/ws/<stream>`, `/stream?streams=a/b`, and messages. As documented in binance-spot-api-docs `web-socket-streams.md`.

Streams `@trade`, `@bookTicker` and `@kline_<interval>`. A stream that does not exist is acknowledged and stays silent. Errors of requests are nested
under `error`, as in recorded frames.
"""

from __future__ import annotations

import json
import re

from market.streams.connection import Connection
from market.streams.protocol import Frame, Hub, Key, StreamProtocol, Update, load
from market.tape import Trade, TradeCandle

__all__ = ["BinanceStreams"]

_PING_S, _PONG_TIMEOUT_S = 20.0, 60.0
_MAX_STREAMS = 1_024
_MAX_MESSAGES = 5
"""Incoming messages per second, pings and pongs included."""
_STREAM = re.compile(r"(?P<symbol>[^@]+)@(?P<channel>trade|bookTicker|kline_(?P<interval>\w+))")
_INTERVALS_S = {"1s": 1, "1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1_800, "1h": 3_600, "2h": 7_200, "4h": 14_400, "1d": 86_400}
_KLINE_EVERY_S = 2
_MAX_CLOSED = 10
"""Closed klines sent at once, should the market have stood still."""
_SHUTDOWN = "!serverShutdown"


class BinanceStreams(StreamProtocol):
    """Binance's protocol."""

    venue = "binance"
    trade_channels = ("trade",)

    def valid_path(self, path: str) -> bool:
        return path in ("/ws", "/stream") or path.startswith("/ws/")

    def opened(self, connection: Connection, hub: Hub) -> None:
        wrapped = connection.path.startswith("/stream")
        connection.data = {
            "wrapped": wrapped,
            "micro": connection.query.get("timeUnit", "").upper() in ("MICROSECOND", "MICROSECONDS"),
            "streams": {},
        }
        names = connection.query.get("streams", "") if wrapped else connection.path.removeprefix("/ws").removeprefix("/")
        self._subscribe(connection, [name for name in names.split("/") if name], hub)

    def received(self, connection: Connection, text: str, hub: Hub) -> None:
        message = load(text)
        if not isinstance(message, dict):
            _refuse(connection, None, 3, "Invalid JSON: expected value at line 1 column 1")
            return
        request_id, params = message.get("id"), message.get("params", [])
        match message.get("method"):
            case "SUBSCRIBE" | "UNSUBSCRIBE" if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
                _refuse(connection, request_id, 2, "Invalid request: invalid type: expected array of strings in 'params'")
            case "SUBSCRIBE":
                # the acknowledgement comes first
                connection.send(json.dumps({"result": None, "id": request_id}, separators=(",", ":")))
                self._subscribe(connection, params, hub)
            case "UNSUBSCRIBE":
                for name in params:
                    key = connection.data["streams"].pop(name, None)
                    if key is not None:
                        hub.unsubscribe(connection, key)
                connection.send(json.dumps({"result": None, "id": request_id}, separators=(",", ":")))
            case "LIST_SUBSCRIPTIONS":
                connection.send(json.dumps({"result": list(connection.data["streams"]), "id": request_id}, separators=(",", ":")))
            case other:
                _refuse(connection, request_id, 2, f"Invalid request: unknown variant `{other}`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`")

    def _subscribe(self, connection: Connection, names: list[str], hub: Hub) -> None:
        streams: dict[str, Key | None] = connection.data["streams"]
        for name in names:
            if name in streams:
                continue
            key = streams[name] = self._key(connection, name, hub)
            if key is not None:
                hub.subscribe(connection, key)
        if len(streams) > _MAX_STREAMS:
            connection.close(1008, "Too many subscriptions")

    def _key(self, connection: Connection, name: str, hub: Hub) -> Key | None:
        found = _STREAM.fullmatch(name)
        # only lower case exists
        if found is None or found["symbol"] != found["symbol"].lower():
            return None
        symbol, channel, interval = found["symbol"].upper(), found["channel"], found["interval"]
        if symbol not in hub.instruments(self.venue) or hub.refused(self.venue)(symbol) or (interval is not None and interval not in _INTERVALS_S):
            return None
        stream = name if connection.data["wrapped"] else ""
        return Key("kline" if interval else channel, symbol, _INTERVALS_S.get(interval or "", 0), interval or "", stream, connection.data["micro"])

    def frames(self, key: Key, update: Update) -> list[Frame]:
        match key.channel:
            case "trade":
                frames = [Frame(_trade(key.symbol, trade, update, key.micro), [trade]) for trade in update.trades]
            case "bookTicker":
                frames = [Frame(_book(key.symbol, update), [])] if update.new_second else []
            case _:
                frames = [Frame(kline, []) for kline in _klines(key, update)]
        return [Frame(f'{{"stream":"{key.stream}","data":{frame.payload}}}', frame.trades) for frame in frames] if key.stream else frames

    def beat(self, connection: Connection, now_s: float, hub: Hub) -> None:
        if len(connection.received_s) > _MAX_MESSAGES and connection.received_s[-1] - connection.received_s[-1 - _MAX_MESSAGES] < 1.0:
            connection.close(1008, "Too many requests")
        if connection.unanswered_s is not None and now_s - connection.unanswered_s > _PONG_TIMEOUT_S:
            connection.close(1008, "Pong timeout")
        if now_s - connection.pinged_s >= _PING_S:
            connection.pinged_s = now_s
            connection.unanswered_s = connection.unanswered_s or now_s
            connection.ping(str(hub.now_us(self.venue) // 1_000).encode())

    def announce(self, connection: Connection, hub: Hub, start_us: int | None, end_us: int | None) -> None:
        """`serverShutdown`, for both: Binance has no other announcement."""
        del start_us, end_us
        event = json.dumps({"e": "serverShutdown", "E": _stamp(hub.now_us(self.venue), bool(connection.data["micro"]))}, separators=(",", ":"))
        connection.send(f'{{"stream":"{_SHUTDOWN}","data":{event}}}' if connection.data["wrapped"] else event)


def _refuse(connection: Connection, request_id: object, code: int, message: str) -> None:
    connection.send(json.dumps({"error": {"code": code, "msg": message}, "id": request_id}, separators=(",", ":")))


def _stamp(time_us: int, micro: bool) -> int:
    return time_us if micro else time_us // 1_000


def _trade(symbol: str, trade: Trade, update: Update, micro: bool) -> str:
    instrument, steps, stamp = update.instrument, update.instrument.steps, _stamp(update.stamp(trade.time_us), micro)
    price, size, maker = instrument.amount(trade.price, steps.price), instrument.amount(trade.size, steps.size), "false" if trade.buy else "true"
    ids = f'"e":"trade","E":{stamp},"s":"{symbol}","t":{trade.trade_id}'
    return f'{{{ids},"p":"{price}","q":"{size}","T":{stamp},"m":{maker},"M":true}}'


def _book(symbol: str, update: Update) -> str:
    instrument, steps, (bid, bid_size, ask, ask_size) = update.instrument, update.instrument.steps, update.best
    bids = f'"b":"{instrument.amount(bid, steps.price)}","B":"{instrument.amount(bid_size, steps.size)}"'
    asks = f'"a":"{instrument.amount(ask, steps.price)}","A":"{instrument.amount(ask_size, steps.size)}"'
    return f'{{"u":{update.now_s},"s":"{symbol}",{bids},{asks}}}'


def _klines(key: Key, update: Update) -> list[str]:
    """Klines that closed since the last update, then the open one every two seconds."""
    if not update.new_second:
        return []
    tape, step = update.instrument.tape, key.interval_s
    begin = update.now_s - update.now_s % step
    ends = range(max(update.last_s // step * step + step, begin - (_MAX_CLOSED - 1) * step), begin + 1, step)
    found = [_kline(key, update, end - step, tape.candle(end - step, end), closed=True) for end in ends]
    if update.now_s // _KLINE_EVERY_S > update.last_s // _KLINE_EVERY_S and update.now_s > begin:
        found.append(_kline(key, update, begin, tape.candle(begin, update.now_s), closed=False))
    return found


def _kline(key: Key, update: Update, start_s: int, candle: TradeCandle, *, closed: bool) -> str:
    begin, end = update.stamp(start_s * 1_000_000), update.stamp((start_s + key.interval_s) * 1_000_000) - 1
    opened, high, low, close, volume, quote, taken, taken_quote = update.instrument.kline(candle)
    ids = (candle.first_id, candle.last_id) if candle.trades else (-1, -1)
    kline = {
        "t": _stamp(begin, key.micro),
        "T": _stamp(end, key.micro),
        "s": key.symbol,
        "i": key.option,
        "f": ids[0],
        "L": ids[1],
        "o": opened,
        "c": close,
        "h": high,
        "l": low,
        "v": volume,
        "n": candle.trades,
        "x": closed,
        "q": quote,
        "V": taken,
        "Q": taken_quote,
        "B": "0",
    }
    return json.dumps({"e": "kline", "E": _stamp(update.now_us, key.micro), "s": key.symbol, "k": kline}, separators=(",", ":"))
