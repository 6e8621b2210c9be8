"""The recorded trades and gaps of some instruments, read from the topics: where a restarted stream resumes. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec

from cryptoviz.errors import RecordError
from cryptoviz.lake.topic_reader import read_topic, topic_ends
from cryptoviz.log import get_logger
from cryptoviz.settings import KafkaSettings
from cryptoviz.trades.gap_change import GapChange, restored_state
from cryptoviz.trades.gap_tracker import TrackerState
from cryptoviz.trades.record import Source, topic_key

__all__ = ["LATE_MS", "TAIL_RECORDS", "Spans", "committed_states", "last_trades"]

TAIL_RECORDS = 4_096
"""Offsets read back at first in each partition; four times as many with each step, until each instrument was found."""
TAIL_MOST_RECORDS = 2_000_000
"""Offsets after which an instrument without a trade counts as new: minutes of all trades of a venue, weeks of those of a few coins."""
LATE_MS = 300_000
"""A trade that arrives later than this after a higher one comes by a refill: connections overlap for a minute."""

log = get_logger("stream")


class _Row(msgspec.Struct):
    trade_number: int | None
    source: str
    venue_ts: int | None = None


_DECODE = msgspec.json.Decoder(_Row).decode
Spans = Mapping[int, tuple[int, int]]
"""`[from, to)` by partition."""


def committed_states(kafka: KafkaSettings, venue: str, symbols: Collection[str]) -> dict[str, TrackerState]:
    """States of the instruments that have trades or open gaps in the topics. Call after earlier producers were fenced: what they left open is ended.

    Raises:
        EngineUnavailable: Kafka does not answer.
    """
    _, bounds = topic_ends(kafka, kafka.trades_topic, settled=True)
    keys = {topic_key(venue, symbol): symbol for symbol in symbols}
    last = last_trades(lambda spans: read_topic(kafka, kafka.trades_topic, spans), bounds, keys)
    changes = _newest_changes(kafka, keys)
    found = {}
    for symbol in symbols:
        number, venue_us, _ = last.get(symbol, (None, None, 0))
        state = restored_state(venue, symbol, number, venue_us, changes.get(symbol, ()))
        if state is not None:
            found[symbol] = state
    return found


def last_trades(read: Callable[[Spans], Iterable[Any]], bounds: Spans, symbols: Mapping[bytes, str]) -> dict[str, tuple[int, int | None, int]]:
    """The highest trade of each symbol: number, time at the venue, Kafka timestamp (ms). Reads all partitions back from their ends, window by window.

    `read` returns the messages of spans; `symbols` by their key. The highest trade of a symbol came by the stream: a refill is only taken below it.
    A trade that came late is written after a higher one, but not `LATE_MS` after it, so the windows reach as far back beyond each trade found.
    """
    found: dict[str, tuple[int, int | None, int]] = {}
    upper = {partition: end for partition, (_, end) in bounds.items()}
    oldest_ms = dict.fromkeys(bounds, 2**62)
    depth = TAIL_RECORDS
    while True:
        missing = len(found) < len(symbols)
        back_to_ms = min((at_ms for _, _, at_ms in found.values()), default=0) - LATE_MS
        behind = {
            partition for partition, (first, _) in bounds.items() if upper[partition] > first and (missing or oldest_ms[partition] > back_to_ms)
        }
        if not behind or sum(end - upper[partition] for partition, (_, end) in bounds.items()) >= TAIL_MOST_RECORDS:
            return found
        lower = {partition: max(bounds[partition][0], upper[partition] - depth) for partition in behind}
        for message in read({partition: (lower[partition], upper[partition]) for partition in behind}):
            at_ms = message.timestamp()[1]
            oldest_ms[message.partition()] = min(oldest_ms[message.partition()], at_ms)
            symbol = symbols.get(message.key() or b"")
            row = _row(message.value()) if symbol is not None else None
            if symbol is not None and row is not None and row.trade_number is not None and row.source == Source.STREAM:
                known = found.get(symbol)
                if known is None or row.trade_number > known[0]:
                    found[symbol] = (row.trade_number, row.venue_ts, at_ms)
        upper |= lower
        depth *= 4


def _row(value: bytes | None) -> _Row | None:
    try:
        return _DECODE(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # a dead letter


def _newest_changes(kafka: KafkaSettings, keys: Collection[bytes]) -> dict[str, list[GapChange]]:
    """The newest change of each gap, by symbol: the whole topic, which only has what went wrong."""
    _, bounds = topic_ends(kafka, kafka.trade_gaps_topic, settled=True)
    newest: dict[str, GapChange] = {}
    for message in read_topic(kafka, kafka.trade_gaps_topic, bounds):
        if message.key() in keys:
            try:
                change = GapChange.from_json(message.value() or b"")
                change.missing_runs  # noqa: B018 (validated here)
            except RecordError as error:
                log.warning("gap_change_unreadable", offset=message.offset(), reason=error.message)
                continue
            newest[change.gap_id] = change
    found: dict[str, list[GapChange]] = {}
    for change in newest.values():
        found.setdefault(change.venue_symbol, []).append(change)
    return found
