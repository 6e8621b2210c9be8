"""Whatever was committed when an actor was killed, its successor continues from it: each trade is recorded once, and none is forgotten."""

from __future__ import annotations

import itertools
import random
from functools import partial

import orjson
import pytest

from actors.publishing.transaction import KafkaTransaction
from actors.streaming import recovery
from actors.streaming.core import StreamCore
from actors.streaming.recovery import Spans, last_trades
from cryptoviz.errors import RecordError
from cryptoviz.trades.gap_change import GapChange
from cryptoviz.trades.id_runs import IdRun
from cryptoviz.trades.record import Source, topic_key
from cryptoviz.venues.events import Heartbeat
from cryptoviz.venues.registry import venue_of
from tests.support.clock import FakeClock
from tests.unit.actors.streaming.fakes import START_US, Record, committed, frame, restored, trade

SPEC = venue_of("binance").spec
BITCOIN = SPEC.instrument("bitcoin")
assert BITCOIN is not None
KEY = topic_key("binance", "BTCUSDT")


def core() -> StreamCore:
    ticks = itertools.count(START_US, 1_000)
    assert BITCOIN is not None
    return StreamCore(SPEC, [BITCOIN], FakeClock(START_US // 1000), lambda: next(ticks))


def window(records: list[Record], spans: Spans) -> list[Record]:
    """What a read of Kafka returns, of its single partition."""
    return records[slice(*spans[0])]


def numbers(transaction: KafkaTransaction | None) -> list[int]:
    return [orjson.loads(message.value)["trade_number"] for message in transaction.messages] if transaction else []


def states(transaction: KafkaTransaction | None) -> list[tuple[str, str]]:
    found = [GapChange.from_json(message.value) for message in transaction.audit_records] if transaction else []
    return [(change.state, change.runs) for change in found]


def test_trades_and_the_gaps_that_they_open_are_one_transaction() -> None:
    stream = core()
    stream.streamed(frame(1, 2))
    stream.streamed(frame(6))
    transaction = stream.take_transaction()
    assert (numbers(transaction), states(transaction)) == ([1, 2, 6], [("open", "3-5")])
    assert stream.take_transaction() is None


def test_a_refill_closes_a_gap_and_never_goes_beyond_the_stream() -> None:
    """After a restart the stream resumes after the newest streamed trade; a refilled one above it would hide what lies between."""
    stream = core()
    assert BITCOIN is not None
    stream.streamed(frame(1, 4))
    stream.take_transaction()
    stream.refilled(BITCOIN, [trade(number, Source.REFILL) for number in (2, 3, 4, 5, 9)], (), ())
    transaction = stream.take_transaction()
    assert (numbers(transaction), states(transaction)) == ([2, 3], [("refilled", "")])
    stream.streamed(frame(5))
    assert numbers(stream.take_transaction()) == [5]


def test_what_the_venue_no_longer_has_is_a_permanent_gap() -> None:
    stream = core()
    assert BITCOIN is not None
    stream.streamed(frame(1, 5))
    stream.refilled(BITCOIN, [trade(2, Source.REFILL)], (), [(IdRun(3, 4), "too_old")])
    transaction = stream.take_transaction()
    (change,) = [GapChange.from_json(message.value) for message in transaction.audit_records] if transaction else []
    assert (change.state, change.reason, change.missing, change.refilled) == ("permanent", "too_old", 2, 1)
    assert stream.missing() == {}


def test_a_change_is_later_than_those_before_a_restart_though_the_clock_was_set_back() -> None:
    """A gap is what its newest change says: closed an hour earlier than it was found, it would be open for ever."""
    stream, back_us = core(), 3_600_000_000
    stream.streamed(frame(1, 3))
    log = [one for one in [stream.take_transaction()] if one is not None]
    records, changes = committed(log)
    (found,) = changes
    assert BITCOIN is not None
    successor = StreamCore(SPEC, [BITCOIN], FakeClock(START_US // 1000), lambda: START_US - back_us)
    state = restored(last_trades(partial(window, records), {0: (0, len(records))}, {KEY: "BTCUSDT"}), changes)
    assert state is not None
    successor.restore({"BTCUSDT": state})
    successor.take_transaction()  # the open gap again
    successor.refilled(BITCOIN, [trade(2, Source.REFILL)], (), ())
    closed = successor.take_transaction()
    (change,) = [GapChange.from_json(message.value) for message in closed.audit_records] if closed else []
    assert (change.gap_id, change.state, change.changed_ts) == (found.gap_id, "refilled", found.changed_ts + 2)


def test_a_heartbeat_with_the_last_trade_opens_a_gap() -> None:
    stream = core()
    stream.streamed(frame(1))
    stream.beat(Heartbeat("BTCUSDT", 3))
    assert states(stream.take_transaction()) == [("open", "2-3")]


@pytest.mark.parametrize("seed", range(40))
def test_a_kill_between_any_two_transactions_neither_loses_nor_doubles_a_trade(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that drops, doubles and reorders, refills in parts, and kills that lose what was not committed yet."""
    assert BITCOIN is not None
    monkeypatch.setattr(recovery, "TAIL_RECORDS", 3)
    chance = random.Random(seed)
    made, log, stream, at = 240, [], core(), 0
    while at < made or stream.missing():
        what = chance.random()
        if what < 0.6 and at < made:
            size = chance.randint(1, 6)
            wanted = [number for number in range(at + 1, min(made, at + size) + 1) if chance.random() > 0.2 or number == made]
            at = min(made, at + size)
            chance.shuffle(wanted)
            if wanted:
                stream.streamed(frame(*wanted, *wanted[: chance.randint(0, 1)]))
        elif what < 0.75 and stream.missing():
            run = chance.choice(stream.missing()["BTCUSDT"]).run
            part = range(run.first, min(run.last, run.first + chance.randint(0, 3)) + 2)
            stream.refilled(BITCOIN, [trade(number, Source.REFILL) for number in part if number <= made], (), ())
        elif what < 0.92:
            log += [one for one in [stream.take_transaction()] if one is not None]
        else:  # killed: its successor knows what Kafka has
            records, changes = committed(log)
            found = last_trades(partial(window, records), {0: (0, len(records))}, {KEY: "BTCUSDT"})
            stream, state = core(), restored(found, changes)
            if state is not None:
                stream.restore({"BTCUSDT": state})
                at = min(at, made - 1)  # the last trade is made again, so that what was lost before it shows
    log += [one for one in [stream.take_transaction()] if one is not None]
    recorded = [number for transaction in log for number in numbers(transaction)]
    assert len(recorded) == len(set(recorded))
    assert set(recorded) == set(range(min(recorded), made + 1))


def test_the_end_of_the_topic_is_read_back_until_each_instrument_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "TAIL_RECORDS", 2)
    quiet = Record(0, topic_key("binance", "ETHUSDT"), trade(7, symbol="ETHUSDT").to_json(), 1_000_000)
    busy = [Record(n, KEY, trade(n).to_json(), 2_000_000 + n) for n in range(1, 20)]
    read: list[tuple[int, int]] = []

    def spans_of(spans: Spans) -> list[Record]:
        read.append(spans[0])
        return [quiet, *busy][slice(*spans[0])]

    keys = {KEY: "BTCUSDT", topic_key("binance", "ETHUSDT"): "ETHUSDT"}
    found = last_trades(spans_of, {0: (0, 20)}, keys)
    assert {symbol: number for symbol, (number, *_) in found.items()} == {"BTCUSDT": 19, "ETHUSDT": 7}
    assert read == [(18, 20), (10, 18), (0, 10)]


def test_a_late_trade_and_a_refill_at_the_end_do_not_count_as_the_last_trade(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "TAIL_RECORDS", 1)
    rows = [trade(50), trade(49), trade(3, Source.REFILL)]
    records = [Record(n, KEY, row.to_json(), 1_000 + n) for n, row in enumerate(rows)]
    found = last_trades(partial(window, records), {0: (0, 3)}, {KEY: "BTCUSDT"})
    assert found["BTCUSDT"][0] == 50


@pytest.mark.parametrize("runs", ["7", "7-8-9", "x-9", "7-"])
def test_a_change_with_unreadable_runs_is_refused(runs: str) -> None:
    stream = core()
    stream.streamed(frame(1, 5))
    transaction = stream.take_transaction()
    assert transaction is not None
    fields = orjson.loads(transaction.audit_records[0].value) | {"runs": runs}
    with pytest.raises(RecordError, match="runs of a gap"):
        _ = GapChange.from_json(orjson.dumps(fields)).missing_runs
