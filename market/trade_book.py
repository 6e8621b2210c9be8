"""The trades of all instruments of the exchanges with a stream, and the changes of their rate that tests ask for."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptoviz.errors import TerminalError
from cryptoviz.times import DAY_MS
from market.coins import ReplayedCoin
from market.quotes import Market, PriceView
from market.tape import Steps, Tape, TradeCandle, text
from market.trade_counts import MAX_PER_SECOND, Segment, TradeCounts

__all__ = ["VENUES", "Instrument", "TradeBook", "UnknownInstrument", "Venue"]

_SIZE_DECIMALS = 8
_EXACT_MS = 3 * DAY_MS
"""Age to which candles are made of trades: a quarter of a millisecond of work for each 5 minutes, which a request for years cannot afford."""
_FIRST_IDS = 10**8
"""Instruments begin at different ids below this, so that a trade is never mistaken for another instrument's."""
_USUAL_NAMES = {"XBT": "BTC", "XDG": "DOGE"}
"""Kraken's names in REST, and in streams."""
_FILE = "trade-rates.json"


class UnknownInstrument(TerminalError):
    """No such symbol at the venue; the message lists the valid ones."""


@dataclass(frozen=True, slots=True)
class Venue:
    """An exchange with a stream.

    Attributes:
        symbol: maps the id of the asset table to the symbol in streams.
        price_decimals: maps the id and the decimals of the recorded price to the decimals of prices.
        size_decimals: maps the decimals of prices to those of sizes.
    """

    name: str
    price_view: PriceView
    symbol: Callable[[str], str]
    price_decimals: Callable[[str, int], int]
    size_decimals: Callable[[int], int]


def _kraken_symbol(pair: str) -> str:
    base = pair.removesuffix("USD")
    return f"{_USUAL_NAMES.get(base, base)}/USD"


VENUES: dict[str, Venue] = {
    venue.name: venue
    for venue in (
        # at Binance price and size have 8 decimals together, so that their products are exact in its 8 decimals
        Venue("binance", PriceView("binance", stepped=True), str, lambda _, recorded: recorded, lambda price: max(0, _SIZE_DECIMALS - price)),
        Venue(
            "kraken",
            PriceView("kraken", spread_bps=4.0, stepped=True),
            _kraken_symbol,
            lambda pair, recorded: 1 if pair == "XBTUSD" else recorded + 1,
            lambda _: _SIZE_DECIMALS,
        ),
        Venue(
            "coinbase",
            PriceView("coinbase", spread_bps=3.0, stepped=True),
            str,
            lambda product, recorded: 2 if product == "BTC-USD" else recorded + 1,
            lambda _: _SIZE_DECIMALS,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Instrument:
    """A coin at a venue. `symbol` as in streams, `listing` as in the asset table."""

    venue: str
    symbol: str
    listing: str
    coin: ReplayedCoin
    tape: Tape

    @property
    def steps(self) -> Steps:
        return self.tape.steps

    def amount(self, units: int, decimals: int) -> str:
        """Exact, with eight decimals, as Binance writes all prices and amounts."""
        return text(units * 10 ** (_SIZE_DECIMALS - decimals), _SIZE_DECIMALS)

    def kline(self, candle: TradeCandle) -> tuple[str, ...]:
        """Open, high, low, close, volume, quote volume, taker-buy volume, taker-buy quote volume, as Binance writes them."""
        price, size = self.steps.price, self.steps.size
        prices = tuple(self.amount(units, price) for units in (candle.open, candle.high, candle.low, candle.close))
        amounts = ((candle.size, size), (candle.value, price + size), (candle.buy_size, size), (candle.buy_value, price + size))
        return (*prices, *(self.amount(units, decimals) for units, decimals in amounts))


class TradeBook:
    """All instruments. Market times are microseconds since the anchor of the market clock.

    Args:
        per_s: trades per market second of each instrument, at least 1.
        home: folder with the changes of rates, so that ids continue after a restart; None keeps them in memory.
    """

    def __init__(self, market: Market, per_s: float, home: Path | None = None) -> None:
        self.clock = market.clock
        self._file = None if home is None else home / _FILE
        self._market = market
        rate_milli = max(1_000, round(per_s * 1_000))
        stored = self._stored(rate_milli)
        self.instruments: dict[str, dict[str, Instrument]] = {name: {} for name in VENUES}
        """By venue and symbol of the stream."""
        self._listed: dict[tuple[str, str], Instrument] = {}
        for venue in VENUES.values():
            for coin in market.coins:
                listing = coin.listing(venue.name)
                if listing is not None:
                    symbol = venue.symbol(listing)
                    name = f"{venue.name}:{symbol}"
                    counts = TradeCounts(rate_milli, stored.get(name, ()), zlib.crc32(name.encode()) % _FIRST_IDS)
                    tape = self._tape(venue, coin, listing, counts)
                    self._listed[venue.name, listing] = self.instruments[venue.name][symbol] = Instrument(venue.name, symbol, listing, coin, tape)

    def listed(self, venue: str, listing: str) -> Instrument | None:
        """The instrument with an id of the asset table."""
        return self._listed.get((venue, listing))

    def market_us(self, wall_ms: int) -> int:
        """Market time of the end of a wall millisecond: trades up to it have been made."""
        return self.clock.elapsed_us(wall_ms * 1_000)

    def wall_us(self, market_us: int) -> int:
        return self.clock.wall_us(market_us)

    def candle(self, venue: str, listing: str, start_ms: int, end_ms: int, now_ms: int) -> TradeCandle | None:
        """The trades between two wall times (UTC epoch ms, end exclusive), with all of the last second. None if that begins too long ago."""
        if start_ms < now_ms - _EXACT_MS:
            return None
        first_s, end_s = self.clock.elapsed_ms(start_ms) // 1000, self.clock.elapsed_ms(end_ms - 1) // 1000 + 1
        return self._listed[venue, listing].tape.candle(first_s, end_s) if first_s >= 0 else None

    def chosen(self, venue: str, symbols: tuple[str, ...]) -> list[Instrument]:
        """The instruments of a venue (`*`: of all), or those with the symbols.

        Raises:
            UnknownInstrument: a symbol is not listed.
        """
        known = {each.symbol: each for name, listed in self.instruments.items() if venue in (name, "*") for each in listed.values()}
        if unknown := [symbol for symbol in symbols if symbol not in known]:
            raise UnknownInstrument(f"unknown symbols {', '.join(unknown)} at {venue}; valid: {', '.join(sorted(known))}")
        every = [each for name, listed in self.instruments.items() if venue in (name, "*") for each in listed.values()]
        return [each for each in every if not symbols or each.symbol in symbols]

    def set_rate(self, instruments: list[Instrument], per_s: float | None, wall_ms: int, *, skipped_ids: int = 0, for_s: float | None = None) -> None:
        """Change the trades per second from the next market second on; None: the usual rate. Ids jump by `skipped_ids`. `for_s`: then back again."""
        start_s = self.market_us(wall_ms) // 1_000_000 + 1
        for each in instruments:
            counts = each.tape.counts
            counts.change(start_s, counts.base_milli if per_s is None else round(min(MAX_PER_SECOND, per_s) * 1_000), skipped_ids)
            if for_s is not None:
                counts.change(start_s + max(1, round(for_s * self.clock.speed)), counts.base_milli)
        self._store()

    def _tape(self, venue: Venue, coin: ReplayedCoin, listing: str, counts: TradeCounts) -> Tape:
        decimals = venue.price_decimals(listing, self._market.price_decimals(coin))
        steps = Steps(decimals, venue.size_decimals(decimals))
        factors = self._market.factors(venue.price_view, coin)
        return Tape(self._market.path(coin), factors, steps, self._market.seed, f"{venue.name}:{listing}", counts)

    def _stored(self, rate_milli: int) -> Mapping[str, list[Segment]]:
        if self._file is None or not self._file.exists():
            return {}
        kept = json.loads(self._file.read_bytes())
        if kept["rate_milli"] != rate_milli:  # other trades altogether
            return {}
        return {name: [Segment(*segment) for segment in segments] for name, segments in kept["segments"].items()}

    def _store(self) -> None:
        if self._file is None:
            return
        changed = {f"{each.venue}:{each.symbol}": each.tape.counts for each in self._listed.values() if each.tape.counts.version}
        rows = {name: [(part.start_s, part.rate_milli, part.last_id, part.skipped) for part in counts.segments] for name, counts in changed.items()}
        rate_milli = next(iter(self._listed.values())).tape.counts.base_milli
        unfinished = self._file.with_suffix(".tmp")
        unfinished.write_text(json.dumps({"rate_milli": rate_milli, "segments": rows}))
        unfinished.replace(self._file)
