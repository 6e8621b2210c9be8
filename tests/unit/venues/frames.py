"""Sessions and responses for tests of venues."""

from __future__ import annotations

from collections.abc import Collection

from cryptoviz.providers.response import HttpResponse
from cryptoviz.trades.record import Trade
from cryptoviz.venues.base import StreamSession
from cryptoviz.venues.events import Event, Trades
from cryptoviz.venues.registry import venue_of
from cryptoviz.venues.spec import Channel, Instrument

NOW_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z."""
BITCOIN = {
    "binance": Instrument("BTCUSDT", "bitcoin", "USDT"),
    "kraken": Instrument("BTC/USD", "bitcoin", "USD"),
    "coinbase": Instrument("BTC-USD", "bitcoin", "USD"),
}
ETHEREUM = {
    "binance": Instrument("ETHUSDT", "ethereum", "USDT"),
    "kraken": Instrument("ETH/USD", "ethereum", "USD"),
    "coinbase": Instrument("ETH-USD", "ethereum", "USD"),
}


def session(venue: str, channels: Collection[Channel] = tuple(Channel)) -> StreamSession:
    return venue_of(venue).session([BITCOIN[venue], ETHEREUM[venue]], channels, "c1")


def parse(venue: str, frame: bytes | str) -> list[Event]:
    return session(venue).parse(frame, NOW_US)


def the_trade(events: list[Event]) -> Trade:
    (event,) = events
    assert isinstance(event, Trades)
    (trade,) = event.trades
    return trade


def response(body: bytes, status: int = 200, **headers: str) -> HttpResponse:
    return HttpResponse(status, headers, body, NOW_US // 1_000, "f1")
