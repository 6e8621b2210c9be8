"""Records raw exchanges in Kafka: one transaction each, keyed by provider."""

from __future__ import annotations

from dataclasses import replace

import orjson

from actors.publishing.transaction import KafkaTransaction, Message, Refused, TransactionSink
from cryptoviz.records import RawExchange
from cryptoviz.telemetry.tracing import current_context

__all__ = ["CUT", "FRAME_BYTES", "ExchangeRecorder", "is_cut"]

FRAME_BYTES = 1024
"""Upper bound for the overhead of a Kafka record and its record batch."""

CUT = "the recorded body is cut: it does not fit into a record (kafka.max_record_bytes)"


class ExchangeRecorder:
    """Queues each exchange for the publisher. Bodies whose JSON form is too large for the topic are truncated."""

    def __init__(self, sink: TransactionSink, max_record_bytes: int) -> None:
        self._sink = sink
        self._limit = max_record_bytes - FRAME_BYTES

    def shorten(self, transaction: KafkaTransaction, refused: Refused) -> None:
        """The broker accepts less than `max_record_bytes`: queue the exchange again with half of its body, under a new identity."""
        data = orjson.loads(refused.message.value)
        body = data["body"]
        if not body:
            return  # cannot be shortened further; the publisher has counted it
        error = data["error"]
        shorter = data | {"body": body[: len(body) // 2], "error": error if is_cut(error) else f"{error}; {CUT}" if error else CUT}
        value = orjson.dumps(shorter, option=orjson.OPT_APPEND_NEWLINE)
        self._sink.offer(KafkaTransaction(f"{data['fetch_id']}/{len(value)}", transaction.tick_ts, (Message(refused.message.key, value),)))

    def __call__(self, exchange: RawExchange) -> None:
        """Queue the exchange; never blocks."""
        value = exchange.to_json()
        while len(value) > self._limit and exchange.body:
            # A JSON escape can take six bytes for one.
            cut = replace(exchange, body=exchange.body[: len(exchange.body) // 2])
            exchange = cut if is_cut(cut.error) else replace(cut, error=f"{cut.error}; {CUT}" if cut.error else CUT)
            value = exchange.to_json()
        message = Message(exchange.provider.encode(), value)
        self._sink.offer(KafkaTransaction(exchange.fetch_id, exchange.tick_ts, (message,), traceparent=current_context()))


def is_cut(error: str | None) -> bool:
    """Whether an exchange's error says that the recorded body is shorter than the received one."""
    return error is not None and error.endswith(CUT)
