"""Recorded frames through the parsers of their venues: the rows of the lake again, whatever connections did; and each change is found."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from actors.streaming.core import StreamCore
from actors.streaming.frame_recorder import FrameRecorder
from cryptoviz.errors import FrameError
from cryptoviz.lake.frame_replay import FrameComparison, FrameReplay, Row, Wanted, frame_batches
from cryptoviz.settings.streams import RawFrames
from cryptoviz.trades.record import Source, Trade
from cryptoviz.venues.events import Trades
from cryptoviz.venues.frames import FrameBatch, frames_key
from cryptoviz.venues.registry import venue_of
from cryptoviz.venues.spec import Channel
from tests.support.clock import FakeClock
from tests.unit.actors.streaming.test_frame_recorder import Sink
from tests.unit.venues.frames import BITCOIN, ETHEREUM

START_US = 1_767_225_600_000_000
EVER = (0, 2**62)


def price(number: int) -> str:
    return f"{64_000 + number % 97}.{number % 10}0"


def binance(symbol: str, number: int, at_us: int) -> str:
    return f'{{"e":"trade","E":1,"s":"{symbol}","t":{number},"p":"{price(number)}","q":"0.00100","T":{at_us},"m":true,"M":true}}'


def kraken(symbol: str, number: int, at_us: int) -> str:
    time = f"2026-01-01T00:00:{(at_us - START_US) / 1e6:09.6f}Z"
    row = f'{{"symbol":"{symbol}","side":"buy","price":{price(number)},"qty":0.00100,"ord_type":"limit","trade_id":{number},"timestamp":"{time}"}}'
    return f'{{"channel":"trade","type":"update","data":[{row}]}}'


def coinbase(symbol: str, number: int, at_us: int) -> str:
    time = f"2026-01-01T00:00:{(at_us - START_US) / 1e6:09.6f}Z"
    return (
        f'{{"type":"match","trade_id":{number},"maker_order_id":"a","taker_order_id":"b","side":"sell","size":"0.00100","price":"{price(number)}",'
        f'"product_id":"{symbol}","sequence":{number * 7},"time":"{time}"}}'
    )


FRAME_OF = {"binance": binance, "kraken": kraken, "coinbase": coinbase}
VENUES = tuple(FRAME_OF)


def row_of(trade: Trade) -> dict[str, Any]:
    """As the lake returns it."""
    found = {name: getattr(trade, name) for name in Trade.__struct_fields__ if name != "trade_key"}
    return found | {
        "price": Decimal(trade.price).quantize(Decimal("1e-18")), "size": Decimal(trade.size).quantize(Decimal("1e-18")),
        "price_double": float(trade.price), "size_double": float(trade.size),
    }  # fmt: skip


@dataclass
class Live:
    """What a stream's actor does with frames: record, parse, take each trade once; the lake has what it took."""

    venue: str
    now_us: int = START_US
    sink: Sink = field(default_factory=Sink)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.instruments = [BITCOIN[self.venue], ETHEREUM[self.venue]]
        self.recorder = FrameRecorder(self.venue, RawFrames.ALL, 15, self.sink)
        self.core = StreamCore(venue_of(self.venue).spec, self.instruments, FakeClock(), lambda: self.now_us)
        self.connections: dict[str, Any] = {}

    def receive(self, connection: str, frame: str) -> None:
        self.now_us += 137
        if connection not in self.connections:
            session = venue_of(self.venue).session(self.instruments, (Channel.TRADES,), connection)
            self.connections[connection] = (session, self.recorder.of(connection, session.instruments))
        session, frames = self.connections[connection]
        frames.add(frame, self.now_us)
        try:
            events = session.parse(frame, self.now_us)
        except FrameError:
            return
        for event in events:
            if isinstance(event, Trades):
                self.core.streamed(event)

    def commit(self) -> None:
        for _, frames in self.connections.values():
            frames.flush()
        transaction = self.core.take_transaction()
        for message in transaction.messages if transaction is not None else ():
            self.rows.append(row_of(Trade.from_json(message.value)))

    def replay(self, batches: Iterable[FrameBatch] | None = None, from_us: int = EVER[0], until_us: int = EVER[1]) -> FrameReplay:
        comparison = FrameComparison(venue_of(self.venue), from_us, until_us, self.read)
        for batch in self.sink.batches if batches is None else batches:
            comparison.add(batch)
        comparison.compare()
        return comparison.result

    def read(self, wanted: Wanted) -> Iterator[Row]:
        for row in self.rows:
            ts = row["ingest_ts"] if row["venue_ts"] is None else row["venue_ts"]
            by_frame = row["source"] == "stream" and row["connection"] in wanted.connections and wanted.first_us <= row["ingest_ts"] <= wanted.last_us
            if wanted.low_us <= ts <= wanted.high_us and (row["trade_id"] in wanted.ids or by_frame):
                yield row


def counts(found: FrameReplay) -> tuple[int, int, int, int, int]:
    return found.equal, found.different, found.missing, found.extra, found.copies


def recorded(venue: str, trades: int = 20) -> Live:
    live = Live(venue)
    for number in range(1, trades + 1):
        live.receive("c1", FRAME_OF[venue](live.instruments[0].symbol, number, live.now_us))
    live.commit()
    return live


@pytest.mark.parametrize("venue", VENUES)
def test_rows_are_equal_in_every_field(venue: str) -> None:
    live = recorded(venue)
    found = live.replay()
    assert counts(found) == (20, 0, 0, 0, 0)
    assert (found.ok, found.frames, found.connections, found.bad_frames, found.differences) == (True, 20, 1, 0, [])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("venue", VENUES)
def test_rows_are_equal_with_garbage_duplicates_reordering_losses_refills_and_overlapping_connections(venue: str, seed: int) -> None:
    live, draw = Live(venue), random.Random(seed)
    frames = [FRAME_OF[venue](one.symbol, number, START_US + number * 1_000) for number in range(1, 301) for one in live.instruments]
    garbage = 0
    for number, frame in enumerate(frames):
        connections = ["c1"] if number < 200 else ["c1", "c2"] if number < 260 else ["c2"] if number < 450 else ["c3"]
        for connection in connections:
            kind = draw.random()
            if kind < 0.05:
                live.receive(connection, draw.choice(["{", frame[:30], "[]", frame.replace(":", ";")]))
                garbage += 1
            elif kind < 0.1:
                live.receive(connection, frame)
                live.receive(connection, frame)
            elif kind < 0.15:
                continue
            elif kind < 0.2 and number:
                live.receive(connection, frame)
                live.receive(connection, frames[number - 1])
            else:
                live.receive(connection, frame)
        if draw.random() < 0.05:
            live.commit()
    live.commit()
    refill(live)
    draw.shuffle(live.rows)
    found = live.replay()
    streamed = sum(row["source"] == "stream" for row in live.rows)
    assert (found.ok, found.equal, found.bad_frames, found.connections) == (True, streamed, garbage, 3)
    assert found.copies > 0
    assert streamed < len(live.rows)
    # batches that were written twice, and in another order, change nothing
    again = live.replay([*reversed(live.sink.batches), *live.sink.batches])
    assert counts(again) == counts(found)


def refill(live: Live) -> None:
    """The trades that no connection brought, as a refill writes them."""
    for one in live.instruments:
        have = {row["trade_number"] for row in live.rows if row["venue_symbol"] == one.symbol}
        for number in set(range(min(have), max(have))) - have:
            trade = Trade.numbered(
                venue=live.venue, venue_symbol=one.symbol, asset_id=one.asset_id, quote_currency=one.quote_currency, trade_number=number,
                price=price(number), size="0.001", side="sell" if live.venue == "binance" else "buy", venue_ts=START_US + number * 1_000,
                ingest_ts=live.now_us, source=Source.REFILL, connection="f1",
            )  # fmt: skip
            live.rows.append(row_of(trade))


def changed(batch: FrameBatch, index: int, old: bytes, new: bytes) -> FrameBatch:
    frames = list(batch.frames)
    at_us, frame = frames[index]
    assert old in frame
    frames[index] = (at_us, frame.replace(old, new))
    return FrameBatch(batch.venue, batch.connection, batch.symbols, batch.first, frames)


@pytest.mark.parametrize("venue", VENUES)
def test_a_changed_frame_is_found(venue: str) -> None:
    live = recorded(venue)
    (batch,) = live.sink.batches
    found = live.replay([changed(batch, 7, price(8).encode(), b"64008.81")])
    assert counts(found) == (19, 1, 0, 0, 0)
    assert not found.ok
    (text,) = found.differences
    assert f"{live.instruments[0].symbol} 8 price: recorded 64008.800000000000000000, replayed 64008.81, price_double: recorded 64008.8" in text


def test_a_frame_that_is_gone_is_a_missing_trade_and_a_changed_id_an_extra_one_too() -> None:
    live = recorded("binance")
    (batch,) = live.sink.batches
    without = FrameBatch(batch.venue, batch.connection, batch.symbols, batch.first, batch.frames[:7] + batch.frames[8:])
    assert counts(live.replay([without])) == (19, 0, 1, 0, 0)
    renamed = live.replay([changed(batch, 7, b'"t":8,', b'"t":99,')])
    assert counts(renamed) == (19, 0, 1, 1, 0)
    texts = [text.split("Z ")[1] for text in renamed.differences]
    assert texts == ["BTCUSDT 99: replayed, not in the lake", "BTCUSDT 8: in the lake, not replayed"]


def test_a_trade_that_is_not_in_the_lake_is_extra() -> None:
    live = recorded("kraken")
    del live.rows[4]
    assert counts(live.replay()) == (19, 0, 0, 1, 0)


@pytest.mark.parametrize(("name", "value"), [("side", "buy"), ("asset_id", "ethereum"), ("venue_ts", None), ("sequence", 1), ("size_double", 0.5)])
def test_each_field_counts(name: str, value: Any) -> None:
    live = recorded("binance")
    live.rows[3][name] = value
    found = live.replay()
    assert counts(found) == (19, 1, 0, 0, 0)
    assert f" 4 {name}: recorded {value}, " in found.differences[0]


def test_a_copy_from_elsewhere_has_the_same_price_and_size() -> None:
    live = recorded("binance")
    live.rows[3] |= {"source": "refill", "connection": "f1", "sequence": 5, "ingest_ts": START_US + 10**9}
    live.rows[4] |= {"connection": "c0", "price": Decimal(1)}
    assert counts(live.replay()) == (18, 1, 0, 0, 1)


def test_only_frames_of_the_interval_are_replayed() -> None:
    live = recorded("coinbase")
    moments = [at_us for at_us, _ in live.sink.frames]
    found = live.replay(from_us=moments[5], until_us=moments[15])
    assert (counts(found), found.frames, found.ok) == ((10, 0, 0, 0, 0), 10, True)


def test_rows_of_frames_that_are_not_recorded_are_not_missing() -> None:
    live = Live("binance")
    for number in range(1, 31):
        live.receive("c1" if number % 2 else "c2", binance("BTCUSDT", number, live.now_us))
        if number % 5 == 0:
            live.commit()
    live.commit()
    assert len(live.sink.batches) == 12
    found = live.replay(live.sink.batches[::3])
    assert (found.ok, found.missing, 0 < found.equal < 30) == (True, 0, True)


def test_groups_are_compared_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryptoviz.lake.frame_replay._GROUP_TRADES", 3)
    live = Live("kraken")
    for number in range(1, 31):
        live.receive("c1", kraken("BTC/USD", number, live.now_us))
        if number % 5 == 0:
            live.commit()
    calls: list[Wanted] = []
    read = live.read

    def counting(wanted: Wanted) -> Iterator[Row]:
        calls.append(wanted)
        return read(wanted)

    live.read = counting  # type: ignore[method-assign]
    assert counts(live.replay()) == (30, 0, 0, 0, 0)
    assert [len(wanted.ids) for wanted in calls] == [5] * 6


def test_a_symbol_that_the_venue_no_longer_has_is_missing() -> None:
    live = recorded("binance")
    (batch,) = live.sink.batches
    other = FrameBatch(batch.venue, batch.connection, ("ETHUSDT",), batch.first, batch.frames)
    assert counts(live.replay([other])) == (0, 0, 20, 0, 0)


@pytest.mark.parametrize("change", [{}, {"price": Decimal(1)}, {"ingest_ts": START_US + 10**9}], ids=["equal", "price", "time"])
@pytest.mark.parametrize("first", [True, False])
def test_a_trade_that_the_lake_has_twice_is_found_wherever_the_second_row_is(change: dict[str, Any], first: bool) -> None:
    live = recorded("kraken")
    live.rows.insert(0 if first else len(live.rows), live.rows[3] | change)
    found = live.replay()
    assert (found.doubled, found.missing, found.extra, found.ok) == (1, 0, 0, False)
    assert any(text.endswith("BTC/USD 4: 2 rows in the lake") for text in found.differences)


def test_a_trade_of_two_connections_that_the_lake_has_twice_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryptoviz.lake.frame_replay._GROUP_TRADES", 1)
    live = recorded("kraken")
    live.receive("c2", kraken("BTC/USD", 4, START_US))
    live.commit()
    live.rows.append(live.rows[3])
    found = live.replay()
    assert (counts(found), found.doubled) == ((20, 0, 0, 0, 1), 1)


@pytest.mark.parametrize("place", [0, 1])
def test_two_batches_with_the_same_number_are_both_replayed_unless_they_are_equal(place: int) -> None:
    """An id of a connection that came twice must not hide what the second one brought, in whatever order they lie."""
    live = recorded("kraken")
    (batch,) = live.sink.batches
    second = FrameBatch(batch.venue, batch.connection, batch.symbols, batch.first, [(START_US + 10**7, kraken("BTC/USD", 99, START_US).encode())])
    batches = [batch, batch]
    batches.insert(place, second)
    found = live.replay(batches)
    assert (counts(found), found.frames) == ((20, 0, 0, 1, 0), 21)


class Message:
    """A record of the topic."""

    def __init__(self, value: bytes | None, key: bytes | None = b"kraken:c1") -> None:
        self.key, self.value = lambda: key, lambda: value
        self.topic, self.partition, self.offset = lambda: "frames", lambda: 0, lambda: 7


def test_a_record_whose_frames_are_not_of_its_key_is_unreadable() -> None:
    """Kraken's frames under Binance's name, or a connection under the name of another, would be judged against rows that are not theirs."""
    (batch,) = recorded("kraken").sink.batches
    for venue, connection in (("binance", "c1"), ("kraken", "c2")):
        value = FrameBatch(venue, connection, batch.symbols, batch.first, batch.frames).encode()
        result = FrameReplay("kraken")
        assert list(frame_batches([Message(value), Message(batch.encode())], "kraken", result)) == [batch]
        assert (result.unreadable, result.ok) == (1, False)
        text = f"record 0:7 of frames: recorded frames are of {venue}:{connection}, and not of the record's key"
        assert result.differences == [text]


@pytest.mark.parametrize("value", [None, b"", b'{"venue":"kraken"}', b"\x95", b"\xff" * 5_000_000], ids=["none", "empty", "json", "cut", "large"])
def test_a_record_that_is_no_frames_is_counted_and_named(value: bytes | None) -> None:
    result = FrameReplay("kraken")
    assert list(frame_batches([Message(value), Message(value, frames_key("binance", "c1")), Message(value, None)], "kraken", result)) == []
    assert (result.unreadable, result.ok, len(result.differences)) == (1, False, 1)
    assert result.differences[0].startswith("record 0:7 of frames: recorded frames cannot be decoded: ")
