"""The quotes that the market streams fit its trades: buyers took at the ask, sellers at the bid."""

from decimal import Decimal

import pytest

from cryptoviz.venues.events import Quote, Trades
from cryptoviz.venues.registry import venue_of
from cryptoviz.venues.spec import Channel
from market.quotes import Market
from market.streams.protocol import Key, Update
from market.streams.server import PROTOCOLS
from market.trade_book import TradeBook

START_S = 1_000 * 86_400
SECONDS = 120
QUOTES = {"binance": Key("bookTicker", "BTCUSDT"), "kraken": Key("ticker", "BTC/USD", 0, "bbo"), "coinbase": Key("ticker", "BTC-USD")}
TRADES = {"binance": "trade", "kraken": "trade", "coinbase": "matches"}


@pytest.fixture(scope="module")
def book():
    return TradeBook(Market(20221108), 1.7)


@pytest.mark.parametrize("venue", QUOTES)
def test_each_trade_is_at_the_quote_of_its_second(venue, book):
    key, protocol, spec = QUOTES[venue], PROTOCOLS[venue], venue_of(venue).spec
    instrument = book.instruments[venue][key.symbol]
    bitcoin = spec.instrument("bitcoin")
    assert bitcoin is not None
    session = venue_of(venue).session([bitcoin], (Channel.TRADES, Channel.QUOTES), "c1")
    checked = {"buy": 0, "sell": 0}
    for second in range(START_S, START_S + SECONDS):
        first_us = second * 1_000_000
        trades = instrument.tape.since(first_us - 1, first_us + 999_999, 1_000)
        # the update of Coinbase begins in the next second, and has the trades of this one
        now_s = second + (venue == "coinbase")
        update = Update(instrument, trades, now_s - 1, now_s, book.wall_us(first_us), book.wall_us, lambda: (1.0, 2.0, 0.5, 3.0))
        arrived_us = book.wall_us(first_us) + 2_000_000
        quotes = [event for frame in protocol.frames(key, update) for event in session.parse(frame.payload, arrived_us)]
        frames = protocol.frames(Key(TRADES[venue], key.symbol), update)
        made = [
            trade for frame in frames for event in session.parse(frame.payload, arrived_us) if isinstance(event, Trades) for trade in event.trades
        ]
        assert len(quotes) == (1 if made or venue != "coinbase" else 0)
        for quote in quotes:
            assert isinstance(quote, Quote)
            assert Decimal(quote.bid) < Decimal(quote.ask)
            for trade in made:
                assert Decimal(trade.price) == Decimal(quote.ask if trade.side == "buy" else quote.bid)
                checked[trade.side] += 1
    assert min(checked.values()) > 40
