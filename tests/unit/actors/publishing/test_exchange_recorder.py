from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from actors.publishing.exchange_recorder import CUT, ExchangeRecorder, is_cut
from cryptoviz.records import RawExchange
from tests.support.clock import T0
from tests.support.collection_fakes import FakeSink


def exchange(body: str | None) -> RawExchange:
    return RawExchange("f1", "coingecko", "/coins/markets", T0, T0, T0 + 5, 200, "ok", None, {"retry-after": "1"}, 1, body)


def test_an_exchange_is_one_record_keyed_by_provider():
    sink = FakeSink()
    ExchangeRecorder(sink, 10_000)(exchange('[{"id":"bitcoin"}]\n'))
    (transaction,) = sink.transactions
    (message,) = transaction.messages
    assert (transaction.identity, transaction.tick_ts, message.key) == ("f1", T0, b"coingecko")
    assert message.value.endswith(b"\n")
    assert message.value.count(b"\n") == 1
    assert orjson.loads(message.value) == {
        "fetch_id": "f1",
        "provider": "coingecko",
        "endpoint": "/coins/markets",
        "tick_ts": T0,
        "started_ts": T0,
        "finished_ts": T0 + 5,
        "status": 200,
        "outcome": "ok",
        "error": None,
        "rate_limit_headers": {"retry-after": "1"},
        "attempt": 1,
        "body": '[{"id":"bitcoin"}]\n',
    }


@pytest.mark.parametrize("body", ["\0" * 9000, "é" * 9000, "x" * 9000, "", None])
def test_a_body_whose_json_is_too_large_is_truncated_to_the_topic_limit(body):
    sink = FakeSink()
    ExchangeRecorder(sink, 4096)(exchange(body))
    value = sink.transactions[0].messages[0].value
    assert len(value) <= 4096 - 1024
    kept = orjson.loads(value)["body"]
    assert kept is None if body is None else body.startswith(kept)


@pytest.mark.parametrize(("error", "expected"), [(None, CUT), ("HTTP 500", f"HTTP 500; {CUT}")])
def test_a_truncated_body_is_reported_with_the_failure(error, expected):
    sink = FakeSink()
    ExchangeRecorder(sink, 4096)(replace(exchange("x" * 20_000), error=error))
    ExchangeRecorder(sink, 4096)(replace(exchange("x"), error=error))
    assert [orjson.loads(transaction.messages[0].value)["error"] for transaction in sink.transactions] == [expected, error]
    assert is_cut(expected)
    assert not is_cut(error)
