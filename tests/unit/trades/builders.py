"""Trades for tests."""

from __future__ import annotations

from cryptoviz.trades.record import Source, Trade

SECOND_US = 1_000_000
START_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z."""


def trade(number: int, *, at_s: float | None = None, price: str = "100", size: str = "1", side: str = "buy", source: Source = Source.STREAM) -> Trade:
    """Trade `number` of the symbol A at the venue `acme`, `at_s` seconds after 2026; by default its number in seconds."""
    return Trade.numbered(
        venue="acme", venue_symbol="A", asset_id="bitcoin", quote_currency="USD", trade_number=number, price=price, size=size, side=side,
        venue_ts=START_US + round((number if at_s is None else at_s) * SECOND_US), ingest_ts=START_US + number, source=source, connection="c1",
    )  # fmt: skip
