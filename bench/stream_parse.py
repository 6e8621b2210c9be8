"""Processor time a trade of the venues' parsers. `bench.beside_cryptofeed` compares them with cryptofeed's.

    .venv/bin/python -m bench.stream_parse

Frames have the documented form, prices and sizes that change, and one trade each, but for Kraken, with three.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

FRAMES = 200_000
ROUNDS = 3
"""The fastest round counts, as other work of the machine only slows one down."""


def binance() -> Iterator[str]:
    for n in range(FRAMES):
        yield (
            f'{{"e":"trade","E":{1767225600000 + n},"s":"BTCUSDT","t":{n + 1},"p":"{64000 + n % 97}.{n % 100:02}000000",'
            f'"q":"0.{n % 100000:05}100","T":{1767225600000 + n},"m":{"true" if n % 2 else "false"},"M":true}}'
        )


def coinbase() -> Iterator[str]:
    for n in range(FRAMES):
        yield (
            f'{{"type":"match","trade_id":{n + 1},"maker_order_id":"ac928c66-ca53-498f-9c13-a110027a60e8","taker_order_id":"132fb6ae-456b-4654-b4e0-'
            f'd681ac05cea1","side":"{"buy" if n % 2 else "sell"}","size":"0.{n % 100000:05}100","price":"{64000 + n % 97}.{n % 100:02}",'
            f'"product_id":"BTC-USD","sequence":{n * 7},"time":"2026-01-01T00:{n // 60 % 60:02}:{n % 60:02}.028459Z"}}'
        )


def kraken() -> Iterator[str]:
    for n in range(0, FRAMES, 3):
        rows = ",".join(
            f'{{"symbol":"BTC/USD","side":"buy","price":{64000 + i % 97}.{i % 100:02}0,"qty":0.{i % 100000:05}100,"ord_type":"market",'
            f'"trade_id":{i + 1},"timestamp":"2026-01-01T00:{i // 60 % 60:02}:{i % 60:02}.708706Z"}}'
            for i in range(n, n + 3)
        )
        yield f'{{"channel":"trade","type":"update","data":[{rows}]}}'


def fastest_us(run: Callable[[], int]) -> float:
    """Processor time of this process for a trade, us. `run` returns the number of trades."""
    best = float("inf")
    for _ in range(ROUNDS):
        before = time.process_time()
        trades = run()
        best = min(best, (time.process_time() - before) / trades * 1e6)
    return best


def ours() -> None:
    from bench.stream_read import read_all
    from cryptoviz.trades.gap_tracker import GapTracker
    from cryptoviz.venues.events import Trades
    from cryptoviz.venues.registry import venue_of
    from cryptoviz.venues.spec import Channel

    for name, made in (("binance", binance()), ("kraken", kraken()), ("coinbase", coinbase())):
        frames, venue = list(made), venue_of(name)
        instrument = venue.spec.instrument("bitcoin")
        assert instrument is not None
        session = venue.session([instrument], [Channel.TRADES], "c1")
        now_us = 1_767_225_600_000_000

        def parse(session: Any = session, frames: list[str] = frames, now_us: int = now_us) -> int:
            return sum(len(event.trades) for frame in frames for event in session.parse(frame, now_us) if isinstance(event, Trades))

        def publish(
            session: Any = session, frames: list[str] = frames, now_us: int = now_us, name: str = name, symbol: str = instrument.symbol
        ) -> int:
            tracker, count = GapTracker(name, symbol), 0
            for frame in frames:
                for event in session.parse(frame, now_us):
                    for trade in tracker.accept(event.trades, now_us).new:
                        count += bool(trade.to_json())
            return count

        parsed, published = fastest_us(parse), fastest_us(publish)
        read = fastest_us(partial(read_all, venue, [instrument], frames, partial(int, now_us)))
        print(f"{name:9} us a trade: parse {parsed:5.2f}; parse, prove complete and encode {published:5.2f}; in the actor's connection {read:5.2f}")


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m bench.stream_parse", description=__doc__).parse_args()
    ours()
