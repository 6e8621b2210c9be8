"""Trades, and what a restart reads from Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from actors.publishing.transaction import KafkaTransaction
from cryptoviz.trades.gap_change import GapChange, restored_state
from cryptoviz.trades.gap_tracker import TrackerState
from cryptoviz.trades.record import Source, Trade
from cryptoviz.venues.events import Trades

START_US = 1_764_000_000_000_000


def trade(number: int, source: str = Source.STREAM, symbol: str = "BTCUSDT") -> Trade:
    return Trade.numbered(
        venue="binance", venue_symbol=symbol, asset_id="bitcoin", quote_currency="USDT", trade_number=number, price="37000.5", size="0.1",
        side="buy", venue_ts=START_US + number * 1000, ingest_ts=START_US + number * 1000 + 50, source=source, connection="c",
    )  # fmt: skip


def frame(*numbers: int) -> Trades:
    return Trades(tuple(trade(number) for number in numbers))


@dataclass
class Record:
    """A message of confluent-kafka, as far as it is used."""

    n: int
    key_: bytes
    value_: bytes
    at_ms: int = 0

    def key(self) -> bytes:
        return self.key_

    def value(self) -> bytes:
        return self.value_

    def timestamp(self) -> tuple[int, int]:
        return 1, self.at_ms

    def offset(self) -> int:
        return self.n

    def partition(self) -> int:
        return 0


def committed(transactions: Iterable[KafkaTransaction]) -> tuple[list[Record], list[GapChange]]:
    """What Kafka has after these transactions."""
    records: list[Record] = []
    changes: list[GapChange] = []
    for number, transaction in enumerate(transactions):
        for message in transaction.messages:
            records.append(Record(len(records), message.key, message.value, number * 10))
        changes += [GapChange.from_json(message.value) for message in transaction.audit_records]
    return records, changes


def restored(found: Mapping[str, tuple[int, int | None, Any]], changes: Iterable[GapChange], symbol: str = "BTCUSDT") -> TrackerState | None:
    newest = {change.gap_id: change for change in changes}
    number, venue_us, _ = found.get(symbol, (None, None, None))
    return restored_state("binance", symbol, number, venue_us, list(newest.values()))
