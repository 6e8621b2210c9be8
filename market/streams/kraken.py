"""Kraken's WebSocket v2: `trade`, `ticker`, `ohlc`. As documented at docs.kraken.com (spot-websocket-v2) and seen in recorded frames.

Numbers are bare JSON numbers with all decimals of the pair. Each symbol of a request is acknowledged or refused separately.
"""

from __future__ import annotations

import json
from typing import Any

from market.streams.connection import Connection
from market.streams.protocol import Frame, Hub, Key, StreamProtocol, Update, iso_us, load
from market.tape import Trade, text
from market.trade_book import Instrument

__all__ = ["KrakenStreams"]

_SNAPSHOT_TRADES = 50
_SNAPSHOT_CANDLES = 60
"""The market's own number: the venue's is not documented."""
_CHANNELS = ("trade", "ticker", "ohlc")
_INTERVALS_MIN = frozenset({1, 5, 15, 30, 60, 240, 1440, 10080, 21600})
_HEARTBEAT_S = 1.0
_VERSION = "2.0.9"
_OHLC_WARNING = "timestamp is deprecated, use interval_begin"


class KrakenStreams(StreamProtocol):
    """Kraken's protocol. The option of a key is the event trigger of a ticker."""

    venue = "kraken"
    trade_channels = ("trade",)

    def valid_path(self, path: str) -> bool:
        return path == "/v2"

    def opened(self, connection: Connection, hub: Hub) -> None:
        del hub
        _send_status(connection, "online")

    def received(self, connection: Connection, text: str, hub: Hub) -> None:
        begin = iso_us(hub.now_us(self.venue))
        message = load(text)
        if not isinstance(message, dict):
            connection.send(_json({"error": "Malformed request", "success": False, "time_in": begin, "time_out": begin}))
            return
        times = {"time_in": begin, "time_out": begin} | ({"req_id": message["req_id"]} if isinstance(message.get("req_id"), int) else {})
        params = message.get("params") if isinstance(message.get("params"), dict) else {}
        match message.get("method"):
            case "ping":
                connection.send(_json({"method": "pong", **times}))
            case "subscribe" | "unsubscribe" as method:
                self._change(connection, str(method), dict(params or {}), times, hub)
            case method:
                connection.send(_json({"error": "Unsupported method", "method": method, "success": False, **times}))

    def _change(self, connection: Connection, method: str, params: dict[str, Any], times: dict[str, Any], hub: Hub) -> None:
        channel, symbols = params.get("channel"), params.get("symbol")
        if channel == "heartbeat":
            connection.send(_json({"method": method, "result": {"channel": "heartbeat"}, "success": True, **times}))
            return
        if channel not in _CHANNELS:
            connection.send(_json({"error": f"Channel name invalid: {channel}", "method": method, "success": False, **times}))
            return
        if not isinstance(symbols, list) or not symbols:
            connection.send(_json({"error": "Field 'symbol' missing", "method": method, "success": False, **times}))
            return
        interval = params.get("interval", 1)
        if channel == "ohlc" and interval not in _INTERVALS_MIN:
            connection.send(_json({"error": "Field 'interval' invalid", "method": method, "success": False, **times}))
            return
        option = str(params.get("event_trigger", "trades")) if channel == "ticker" else ""
        interval_s = interval * 60 if channel == "ohlc" else 0
        snapshot = bool(params.get("snapshot", channel != "trade"))
        for symbol in symbols:
            self._one(connection, method, Key(channel, str(symbol), interval_s, option), snapshot, times, hub)

    def _one(self, connection: Connection, method: str, key: Key, snapshot: bool, times: dict[str, Any], hub: Hub) -> None:
        if key.symbol not in hub.instruments(self.venue) or hub.refused(self.venue)(key.symbol):
            refusal = {"error": f"Currency pair not supported {key.symbol}", "method": method, "success": False, "symbol": key.symbol}
            connection.send(_json(refusal | times))
            return
        if method == "unsubscribe":
            hub.unsubscribe(connection, key)
            connection.send(_json({"method": method, "result": {"channel": key.channel, "symbol": key.symbol}, "success": True, **times}))
            return
        if key in connection.subscriptions:
            connection.send(_json({"error": "Already subscribed", "method": method, "success": False, "symbol": key.symbol} | times))
            return
        result: dict[str, Any] = {"channel": key.channel, "snapshot": snapshot, "symbol": key.symbol}
        if key.channel == "ohlc":
            result |= {"interval": key.interval_s // 60, "warnings": [_OHLC_WARNING]}
        if key.channel == "ticker":
            result["event_trigger"] = key.option
        connection.send(_json({"method": method, "result": result, "success": True, **times}))
        update = hub.subscribe(connection, key)
        if snapshot:
            self._snapshot(connection, key, update, hub)

    def _snapshot(self, connection: Connection, key: Key, update: Update, hub: Hub) -> None:
        instrument = update.instrument
        if key.channel == "trade":
            trades = hub.last_trades(instrument, _SNAPSHOT_TRADES)
            frames = [Frame(_trades(key.symbol, trades, update, "snapshot"), trades)]
        elif key.channel == "ticker":
            frames = [Frame(_ticker(key.symbol, update, "snapshot"), [])]
        else:
            interval_s = key.interval_s
            end = update.now_s // interval_s * interval_s
            starts = range(max(0, end - (_SNAPSHOT_CANDLES - 1) * interval_s), end + 1, interval_s)
            rows = [row for start in starts if (row := _candle(key, instrument, start, min(start + interval_s, update.now_s + 1), update))]
            frames = [Frame(_ohlc(rows, update, "snapshot"), [])]
        for frame in frames:
            hub.send(connection, key.symbol, frame)

    def frames(self, key: Key, update: Update) -> list[Frame]:
        match key.channel:
            case "trade":
                return [Frame(_trades(key.symbol, update.trades, update, "update"), update.trades)] if update.trades else []
            case "ticker":
                due = update.new_second if key.option == "bbo" else bool(update.trades)
                return [Frame(_ticker(key.symbol, update, "update"), [])] if due else []
            case _:
                if not update.new_second:
                    return []
                interval_s = key.interval_s
                first = max(update.last_s // interval_s, update.now_s // interval_s - 1) * interval_s
                rows = [
                    row
                    for start in range(first, update.now_s + 1, interval_s)
                    if update.instrument.tape.counts.made(update.last_s, update.now_s)
                    and (row := _candle(key, update.instrument, start, min(start + interval_s, update.now_s), update))
                ]
                return [Frame(_ohlc([row], update, "update"), []) for row in rows]

    def beat(self, connection: Connection, now_s: float, hub: Hub) -> None:
        del hub
        if connection.subscriptions and now_s - connection.sent_s >= _HEARTBEAT_S:
            connection.sent_s = now_s
            connection.send('{"channel":"heartbeat"}')

    def announce(self, connection: Connection, hub: Hub, start_us: int | None, end_us: int | None) -> None:
        if start_us is None or end_us is None:
            _send_status(connection, "maintenance")
            return
        ahead_s = max(0, start_us - hub.now_us(self.venue)) // 1_000_000
        window = {
            "event_id": 1,
            "title": "Scheduled maintenance",
            "expected_start_utc": iso_us(start_us)[:19] + "Z",
            "expected_end_utc": iso_us(end_us)[:19] + "Z",
            "time_to_start_s": ahead_s,
            "phase": "final_warning_30s" if ahead_s <= 30 else "imminent_5m",
            "affected_services": ["spot_ws"],
            "order_submission": "allowed",
            "recommended_action": "disconnect_and_wait",
        }
        _send_status(connection, "online", {"upcoming_maintenance": [window], "emergency": []})


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _send_status(connection: Connection, system: str, more: dict[str, Any] | None = None) -> None:
    data = {"api_version": "v2", "connection_id": 13_834_774_380_200_000_000 + connection.entry.connection, "system": system, "version": _VERSION}
    connection.send(_json({"channel": "status", "data": [data | (more or {})], "type": "update"}))


def _trades(symbol: str, trades: list[Trade], update: Update, kind: str) -> str:
    steps = update.instrument.steps
    rows = ",".join(
        f'{{"symbol":"{symbol}","side":"{"buy" if trade.buy else "sell"}","price":{steps.price_text(trade.price)},'
        f'"qty":{steps.size_text(trade.size)},"ord_type":"market","trade_id":{trade.trade_id},"timestamp":"{iso_us(update.stamp(trade.time_us))}"}}'
        for trade in trades
    )
    return f'{{"channel":"trade","type":"{kind}","data":[{rows}]}}'


def _ticker(symbol: str, update: Update, kind: str) -> str:
    steps, (bid, bid_size, ask, ask_size) = update.instrument.steps, update.best
    opened, high, low, volume = update.day()
    last = update.instrument.tape.price(update.now_s)
    digits = steps.price
    change = last / 10**digits - opened
    return (
        f'{{"channel":"ticker","type":"{kind}","data":[{{"symbol":"{symbol}","bid":{steps.price_text(bid)},"bid_qty":{steps.size_text(bid_size)},'
        f'"ask":{steps.price_text(ask)},"ask_qty":{steps.size_text(ask_size)},"last":{steps.price_text(last)},"volume":{volume:.8f},'
        f'"vwap":{(high + low) / 2:.{digits}f},"low":{low:.{digits}f},"high":{high:.{digits}f},"change":{change:.{digits}f},'
        f'"change_pct":{change / opened * 100:.2f},"timestamp":"{iso_us(update.now_us)}"}}]}}'
    )


def _candle(key: Key, instrument: Instrument, start_s: int, end_s: int, update: Update) -> str | None:
    """An interval's row; None without trades."""
    if end_s <= start_s:
        return None
    candle, steps, interval_s = instrument.tape.candle(start_s, end_s), instrument.steps, key.interval_s
    if not candle.trades:
        return None
    begin, end = update.stamp(start_s * 1_000_000), update.stamp((start_s + interval_s) * 1_000_000)
    prices = ",".join(f'"{name}":{steps.price_text(getattr(candle, name))}' for name in ("open", "high", "low", "close"))
    vwap = text(round(candle.value / candle.size), steps.price)
    return (
        f'{{"symbol":"{key.symbol}",{prices},"trades":{candle.trades},"volume":{steps.size_text(candle.size)},"vwap":{vwap},'
        f'"interval_begin":"{iso_us(begin)[:-1]}000Z","interval":{interval_s // 60},"timestamp":"{iso_us(end)}"}}'
    )


def _ohlc(rows: list[str], update: Update, kind: str) -> str:
    return f'{{"channel":"ohlc","type":"{kind}","timestamp":"{iso_us(update.now_us)[:-1]}000Z","data":[{",".join(rows)}]}}'
