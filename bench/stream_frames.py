"""Trades with random values, and the frames that bring them: in the form that the venues send, and in forms that cryptofeed reads."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cryptoviz.venues.spec import Instrument

__all__ = ["MadeTrade", "adapted_frame", "frame", "trades_of"]

_START_US = 1_767_225_600_000_000


class MadeTrade(NamedTuple):
    """`side`: the taker's. `orders`: ids of the two orders, which Coinbase sends."""

    symbol: str
    number: int
    price: str
    size: str
    side: str
    at_us: int
    place: int
    orders: tuple[str, str]

    @property
    def maker(self) -> str:
        """The maker's side, which Coinbase sends."""
        return "sell" if self.side == "buy" else "buy"

    @property
    def time(self) -> str:
        return f"2026-01-01T00:{self.at_us // 60_000_000 % 60:02}:{self.at_us % 60_000_000 / 1e6:09.6f}Z"


def trades_of(venue: str, instruments: Sequence[Instrument], count: int) -> Iterator[MadeTrade]:
    """The numbers of each instrument rise by 1."""
    draw, numbers, at_us = random.Random(1), {one.symbol: 1_000_000_000 * place for place, one in enumerate(instruments, 1)}, _START_US
    for index in range(count):
        symbol = draw.choice(instruments).symbol
        numbers[symbol] += 1
        at_us += draw.randrange(2_000)
        price, size = f"{draw.randrange(10**6, 10**7) / 100:.2f}", f"{draw.randrange(1, 10**8) / 10**8:.8f}"
        side = "buy" if draw.random() < 0.5 else "sell"
        first, second = (f"{draw.getrandbits(32):08x}-ca53-498f-9c13-{draw.getrandbits(48):012x}" for _ in range(2))
        price += "000000" if venue == "binance" else ""
        yield MadeTrade(symbol, numbers[symbol], price, size, side, at_us, index, (first, second))


def frame(venue: str, one: MadeTrade) -> str:
    """As the venue sends it to this project: Binance `trade`, Kraken v2, Coinbase Exchange `match`."""
    maker = "true" if one.side == "sell" else "false"
    match venue:
        case "binance":
            return (
                f'{{"e":"trade","E":{one.at_us + 500},"s":"{one.symbol}","t":{one.number},"p":"{one.price}","q":"{one.size}","T":{one.at_us},'
                f'"m":{maker},"M":true}}'
            )
        case "kraken":
            row = (
                f'{{"symbol":"{one.symbol}","side":"{one.side}","price":{one.price},"qty":{one.size},"ord_type":"limit",'
                f'"trade_id":{one.number},"timestamp":"{one.time}"}}'
            )
            return f'{{"channel":"trade","type":"update","data":[{row}]}}'
        case _:
            return (
                f'{{"type":"match","trade_id":{one.number},"maker_order_id":"{one.orders[0]}","taker_order_id":"{one.orders[1]}",'
                f'"side":"{one.maker}","size":"{one.size}","price":"{one.price}","product_id":"{one.symbol}","sequence":{one.place * 7},'
                f'"time":"{one.time}"}}'
            )


def adapted_frame(venue: str, one: MadeTrade) -> str:
    """The same trade in the form that cryptofeed 2.4.1 reads: Binance `aggTrade` in a combined stream, Kraken v1, Coinbase Advanced Trade."""
    match venue:
        case "binance":
            data = frame(venue, one).replace('"e":"trade"', '"e":"aggTrade"').replace('"t":', '"a":')
            data = data.replace(f'"E":{one.at_us + 500}', f'"E":{one.at_us // 1000}').replace(f'"T":{one.at_us}', f'"T":{one.at_us // 1000}')
            return f'{{"stream":"{one.symbol.lower()}@aggTrade","data":{data}}}'
        case "kraken":
            pair, seconds = one.symbol.replace("BTC", "XBT"), f"{one.at_us // 1_000_000}.{one.at_us % 1_000_000:06}"
            return f'[337,[["{one.price}","{one.size}","{seconds}","{one.side[0]}","l",""]],"trade","{pair}"]'
        case _:
            row = (
                f'{{"trade_id":"{one.number}","product_id":"{one.symbol}","price":"{one.price}","size":"{one.size}",'
                f'"side":"{one.maker.upper()}","time":"{one.time}"}}'
            )
            head = f'"channel":"market_trades","client_id":"","timestamp":"{one.time}","sequence_num":{one.place}'
            return f'{{{head},"events":[{{"type":"update","trades":[{row}]}}]}}'
