"""Coinbase Exchange: matches, and best bid and ask at each of them.

Sources: https://docs.cdp.coinbase.com/exchange/websocket-feed (channels, rate limits), https://docs.cdp.coinbase.com/exchange/reference (product
trades); frames recorded by others; https://github.com/danpaquin/coinbasepro-python/issues/333.

- Subscribe within 5 s: `product_ids` and `channels`. `subscriptions` acknowledges with the whole set so far; an unknown product is an `error` that
  refuses the whole request and names the product in `reason`.
- `match`: `side` is the **maker's**, so the taker did the other. The first frame of a product is `last_match`, the trade before the subscription.
- `trade_id` rises by 1 for each product. `sequence` counts the product's full feed, so it jumps, and proves nothing about trades.
- `ticker` is sent at each match and skips trades: it is read for its quote only.
- `heartbeat` once a second for each product, with `last_trade_id`, which shows a missing last trade; it was 0 for months (go-coinbasepro#89).
- Odd values: time `0001-01-01`, size `0.-10000`.
- Limits: 8 requests a second and address, bursts of 20; 100 messages a second on a connection.
- Refill: `GET /products/{id}/trades?limit=1000&after=<trade_id>`, newest first, ids below `after`; `side` is the maker's; 10 calls a second.
- Candles: `GET /products/{id}/candles?granularity=60&start=&end=` (s, inclusive), newest first, at most 300;
  `[start, low, high, open, close, volume]` as bare numbers; none for a minute without trades.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar
from urllib.parse import quote

import msgspec

from cryptoviz.providers.coinbase import SPEC as PROVIDER
from cryptoviz.providers.failures import bad_payload, status_failure
from cryptoviz.providers.plan import Plan
from cryptoviz.providers.response import HttpResponse
from cryptoviz.trades.gaps import PermanentReason
from cryptoviz.trades.id_runs import IdRun
from cryptoviz.trades.record import Side, TradeNumber
from cryptoviz.venues.base import KlineCall, RefillCall, RefillPage, StreamSession, StreamVenue
from cryptoviz.venues.events import Acked, Event, Heartbeat, Refused, Trades, Unknown, VenueKline
from cryptoviz.venues.refill_rows import RefillRows
from cryptoviz.venues.spec import Channel, Instrument, QuietRule, RefillLimits, StreamLimits, VenueSpec
from cryptoviz.venues.values import number_text, plain, require_decimals, us_of_text

__all__ = ["CoinbaseVenue"]

NAME = "coinbase"
ROWS = 1_000
_CHANNELS = {Channel.TRADES: "matches", Channel.QUOTES: "ticker"}
_NAMES = {name: channel for channel, name in _CHANNELS.items()}
_TAKER: Mapping[str, Side] = {"buy": Side.SELL, "sell": Side.BUY}
"""The taker's side, by the maker's."""
_WORD = re.compile(r"[A-Z0-9]+-[A-Z0-9]+")
_MATCH_START = b'{"type":"match"'

SPEC = VenueSpec(
    name=NAME,
    display_name="Coinbase",
    stream_url="wss://ws-feed.exchange.coinbase.com",
    refill_url="https://api.exchange.coinbase.com",
    symbols=PROVIDER.asset_ids,
    quote="USD",
    contiguous_ids=True,
    quiet=QuietRule.ABSENT,
    channels=frozenset(_CHANNELS),
    limits=StreamLimits(
        symbols_per_connection=100,
        messages_per_s=4.0,
        symbols_per_message=100,
        connects=8,
        connects_per_s=1.0,
        alive_s=10.0,  # ten heartbeats
    ),
    # Another host than the provider's, with limits of its own.
    refill=RefillLimits(rows=ROWS, weight=1, plan=Plan(per_minute=600), min_interval_s=0.1),
)


class _Match(msgspec.Struct, gc=False):
    type: str
    trade_id: TradeNumber
    time: str
    product_id: str
    size: str
    price: str
    side: str
    sequence: int | None = None


class _Ticker(msgspec.Struct, gc=False):
    product_id: str
    best_bid: str
    best_ask: str
    best_bid_size: str
    best_ask_size: str
    time: str | None = None
    sequence: int | None = None


class _Heartbeat(msgspec.Struct, gc=False):
    product_id: str
    last_trade_id: TradeNumber = 0
    time: str | None = None


class _Channel(msgspec.Struct):
    name: str
    product_ids: list[str] = []


class _Head(msgspec.Struct):
    type: str
    message: str = ""
    reason: str = ""
    channels: list[_Channel] = []


class _Row(msgspec.Struct, gc=False):
    trade_id: TradeNumber
    time: str
    size: str
    price: str
    side: str


_HEAD = msgspec.json.Decoder(_Head)
_MATCH = msgspec.json.Decoder(_Match)
_TICKER = msgspec.json.Decoder(_Ticker)
_HEARTBEAT = msgspec.json.Decoder(_Heartbeat)
_ROW_LIST = msgspec.json.Decoder(list[_Row])
_CandleRow = tuple[int, msgspec.Raw, msgspec.Raw, msgspec.Raw, msgspec.Raw, msgspec.Raw]
_CANDLE_ROWS = msgspec.json.Decoder(list[_CandleRow])


class CoinbaseSession(StreamSession):
    """One connection."""

    def __init__(self, instruments: Sequence[Instrument], channels: Collection[Channel], connection: str) -> None:
        super().__init__(SPEC, instruments, channels, connection)

    def subscribe(self) -> list[str]:
        # A request for each channel: a refused one takes no other with it.
        asked = [(_CHANNELS[channel], symbols) for channel, symbols in self._unacked_by_channel()]
        frames = [{"type": "subscribe", "product_ids": symbols, "channels": [name, "heartbeat"]} for name, symbols in asked]
        return [msgspec.json.encode(frame).decode() for frame in frames]

    def _events(self, frame: bytes, ingest_us: int) -> list[Event]:
        if frame.startswith(_MATCH_START):
            return [self._match(_MATCH.decode(frame), ingest_us)]
        head = _HEAD.decode(frame)
        match head.type:
            case "match" | "last_match":
                return [self._match(_MATCH.decode(frame), ingest_us)]
            case "ticker":
                return self._quotes_of(self._quote, frame, ingest_us)
            case "heartbeat":
                return [self._heartbeat(_HEARTBEAT.decode(frame), ingest_us)]
            case "subscriptions":
                return self._acks(head)
            case "error":
                return self._refusal(head)
        return [Unknown(head.type[:60])]

    def _match(self, row: _Match, ingest_us: int) -> Event:
        instrument = self.instruments.get(row.product_id)
        if instrument is None:
            return Unknown(f"match of {row.product_id[:40]}")
        if row.side not in _TAKER:
            raise ValueError(f"side {row.side[:40]!r}: valid are buy and sell")
        moment_us = us_of_text(row.time, ingest_us)
        trade = self._trade(instrument, row.trade_id, row.price, row.size, _TAKER[row.side], moment_us, ingest_us, row.sequence)
        return Trades((trade,), snapshot=row.type == "last_match")

    def _quote(self, frame: bytes, ingest_us: int) -> list[Event]:
        row = _TICKER.decode(frame)
        if row.product_id not in self.instruments:
            return [Unknown(f"ticker of {row.product_id[:40]}")]
        moment_us = None if row.time is None else us_of_text(row.time, ingest_us)
        amounts = (row.best_bid, row.best_bid_size, row.best_ask, row.best_ask_size)
        return [self._checked_quote(row.product_id, *amounts, moment_us, ingest_us, row.sequence)]

    def _heartbeat(self, row: _Heartbeat, ingest_us: int) -> Event:
        known = row.product_id in self.instruments
        moment_us = us_of_text(row.time, ingest_us) if row.time else None
        return Heartbeat(row.product_id, row.last_trade_id or None, moment_us) if known else Heartbeat()

    def _acks(self, head: _Head) -> list[Event]:
        """All of the subscriptions so far, each time; only those not acknowledged before are new."""
        found: list[Event] = []
        for each in head.channels:
            channel = _NAMES.get(each.name)
            found += [Acked(symbol, str(channel)) for symbol in each.product_ids if channel and (symbol, str(channel)) in self.unacked]
        return found

    def _refusal(self, head: _Head) -> list[Event]:
        """The product is named in the text; the other symbols of the request were refused with it, and `subscribe` asks for them again."""
        text = f"{head.message}: {head.reason}" if head.reason else head.message
        named = [symbol for symbol in dict.fromkeys(_WORD.findall(head.reason)) if symbol in self.instruments]
        return [Refused(symbol, str(channel), text) for symbol in named for channel in self.channels] or [Refused("", "", text)]


def _trades_below(number: int, most: int, call: RefillCall) -> RefillCall:
    query = {"limit": str(min(ROWS, most)), "after": str(number)}
    return replace(call, path=f"/products/{quote(call.instrument.symbol, safe='')}/trades", query=query)


class CoinbaseVenue(StreamVenue):
    """See the module."""

    spec: ClassVar[VenueSpec] = SPEC

    def session(self, instruments: Sequence[Instrument], channels: Collection[Channel], connection: str) -> CoinbaseSession:
        return CoinbaseSession(instruments, channels, connection)

    def refill(self, instrument: Instrument, run: IdRun, around_us: tuple[int | None, int | None] = (None, None)) -> RefillCall:
        # With the trade after the run: only one above a number proves that the number is gone, and does not come later.
        return _trades_below(run.last + 2, run.size + 1, RefillCall("", {}, instrument, run, around_us))

    def parse_refill(self, response: HttpResponse, call: RefillCall) -> RefillPage:
        if response.status != 200:
            raise status_failure(NAME, response.status, "", response.retry_after_s)
        rows = RefillRows(NAME, call.instrument, response)
        try:
            for row in _ROW_LIST.decode(response.body):
                rows.add(row.trade_id, row.price, row.size, _TAKER[row.side], us_of_text(row.time, rows.ingest_us))
        except (msgspec.DecodeError, ValueError, KeyError, RecursionError) as error:
            raise bad_payload(NAME, f"not a list of trades: {type(error).__name__}: {error}") from None
        run, first = call.run, min(rows.numbers, default=None)
        if first is None:
            # Older trades do not exist, however far back the run reaches.
            return RefillPage((), absent=((run, PermanentReason.TOO_OLD),))
        rest = replace(call, run=IdRun(run.first, min(first - 1, run.last)), cursor=first)
        following = _trades_below(first, rest.run.size, rest) if first > run.first else None
        # The history can lag behind the stream: above its newest trade nothing is proved. `cursor` is a trade above the run that it has.
        return RefillPage(tuple(rows.trades), (), rows.absent(run, first, max(call.cursor - 1, *rows.numbers)), following)

    def klines(self, instrument: Instrument, first_us: int, until_us: int) -> KlineCall:
        query = {"granularity": "60", "start": str(first_us // 1_000_000), "end": str(until_us // 1_000_000 - 60)}
        return KlineCall(f"/products/{quote(instrument.symbol, safe='')}/candles", query, instrument, first_us, until_us)

    def parse_klines(self, response: HttpResponse, call: KlineCall) -> list[VenueKline]:
        if response.status != 200:
            raise status_failure(NAME, response.status, "", response.retry_after_s)
        found = []
        try:
            for start, *values in _CANDLE_ROWS.decode(response.body):
                low, high, open_, close, volume = (plain(number_text(raw)) for raw in values)
                require_decimals("a candle", open_, high, low, close, volume)
                found.append(
                    VenueKline(
                        symbol=call.instrument.symbol, interval="1m", open_us=start * 1_000_000, open=open_, high=high, low=low, close=close,
                        volume=volume, closed=True,
                    )
                )  # fmt: skip
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise bad_payload(NAME, f"not a list of candles: {type(error).__name__}: {error}") from None
        return [one for one in found if call.first_us <= one.open_us < call.until_us]
