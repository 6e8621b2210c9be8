"""Raw exchanges on their way to Kafka: each one transaction, keyed by provider."""

from __future__ import annotations

from dataclasses import replace

import orjson

from actors.publishing.transaction import Batch, BatchSink, Message, Refused
from cryptoviz.records import RawExchange

__all__ = ["CUT", "FRAME_BYTES", "RawSink", "is_cut"]

FRAME_BYTES = 1024
"""Kafka's own share of a record and its batch, with room."""

CUT = "the recorded body is cut: it does not fit into a record (kafka.max_record_bytes)"


class RawSink:
    """A recorder that queues each exchange for the publisher; bodies whose JSON form is too large for the topic are cut."""

    def __init__(self, sink: BatchSink, max_record_bytes: int) -> None:
        self._sink = sink
        self._limit = max_record_bytes - FRAME_BYTES

    def shorten(self, batch: Batch, refused: Refused) -> None:
        """The broker takes less than our own limit: queue the exchange again with half of its body, under an identity of its own."""
        data = orjson.loads(refused.message.value)
        body = data["body"]
        if not body:
            return  # what is left is as small as it gets: the publisher has counted it
        error = data["error"]
        shorter = data | {"body": body[: len(body) // 2], "error": error if is_cut(error) else f"{error}; {CUT}" if error else CUT}
        value = orjson.dumps(shorter, option=orjson.OPT_APPEND_NEWLINE)
        self._sink.offer(Batch(f"{data['fetch_id']}/{len(value)}", batch.tick_ts, (Message(refused.message.key, value),)))

    def __call__(self, exchange: RawExchange) -> None:
        """Queue it; never blocks."""
        value = exchange.to_json()
        while len(value) > self._limit and exchange.body:
            # JSON escapes can make six bytes of one.
            cut = replace(exchange, body=exchange.body[: len(exchange.body) // 2])
            exchange = cut if is_cut(cut.error) else replace(cut, error=f"{cut.error}; {CUT}" if cut.error else CUT)
            value = exchange.to_json()
        self._sink.offer(Batch(exchange.fetch_id, exchange.tick_ts, (Message(exchange.provider.encode(), value),)))


def is_cut(error: str | None) -> bool:
    """Whether an exchange's error says that its body is not all that the parser was given."""
    return error is not None and error.endswith(CUT)
