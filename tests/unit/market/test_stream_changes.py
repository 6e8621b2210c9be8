"""Faults of trades change exactly the trades that they hit."""

import pytest

from market.coins import replayed_coins
from market.faultbook import BadFault, FaultBook
from market.streams.changes import Reordering, changed_frames, runs_of
from market.streams.ledger import ConnectionEntry, StreamLedger
from market.streams.protocol import Frame
from market.tape import Trade

SYMBOLS = {"binance": ["BTCUSDT", "ETHUSDT"], "kraken": ["BTC/USD"]}


def trades(*ids):
    return [Trade(trade_id, trade_id, 100, 5, True) for trade_id in ids]


@pytest.fixture
def book():
    return FaultBook(replayed_coins(), SYMBOLS)


def sent(book, ids, symbol="BTCUSDT", reordering=None):
    runs = runs_of(trades(*ids), symbol, book.peek("binance", 0), 0, reordering or Reordering())
    return [([trade.trade_id for trade in run.trades], type(run.change).__name__ if run.change else None) for run in runs]


def fault(book, kind, **rest):
    book.add({"provider": "binance", "kind": kind, **rest}, 0)


def test_without_faults_all_trades_are_one_run(book):
    assert sent(book, [1, 2, 3]) == [([1, 2, 3], None)]
    assert sent(book, []) == []


def test_drop_by_count_and_symbol(book):
    fault(book, "stream_drop", parameters={"symbols": ["BTCUSDT"]}, count=2)
    assert sent(book, [1, 2], "ETHUSDT") == [([1, 2], None)]
    assert sent(book, [1, 2, 3]) == [([3], None)]


def test_every_third_is_sent_twice(book):
    fault(book, "stream_duplicate", every=3)
    assert sent(book, [1, 2, 3, 4]) == [([1, 1, 2, 3, 4, 4], None)]


def test_a_trade_is_sent_after_its_successor_also_in_the_next_update(book):
    fault(book, "stream_reorder", count=2)
    reordering = Reordering()
    assert sent(book, [1], reordering=reordering) == []
    assert sent(book, [2, 3], reordering=reordering) == [([2, 1, 3], None)]


def test_changed_frames(book):
    fault(book, "stream_garbage", count=1, parameters={"text": "?"})
    fault(book, "stream_truncated", count=1)
    [run, *rest] = runs_of(trades(1, 2), "BTCUSDT", book.peek("binance", 0), 0, Reordering())
    frame = Frame('{"t":1}', run.trades)
    assert changed_frames([frame], run.change) == [Frame("?", []), frame]
    assert [part.change for part in rest] == [None]
    fault(book, "stream_truncated", count=1)
    [cut] = runs_of(trades(3), "BTCUSDT", book.peek("binance", 0), 0, Reordering())
    assert changed_frames([frame], cut.change) == [Frame('{"t', [])]
    fault(book, "stream_huge", count=1, parameters={"size_bytes": 20})
    [huge] = runs_of(trades(4), "BTCUSDT", book.peek("binance", 0), 0, Reordering())
    assert changed_frames([frame], huge.change) == [Frame('{"t":1}' + " " * 13, frame.trades)]


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"provider": "coingecko", "kind": "stream_drop"}, "coingecko has no stream in the market; valid for stream_drop: binance, kraken, and"),
        ({"provider": "kraken", "kind": "stream_drop", "parameters": {"symbols": ["XBT/USD"]}}, "unknown symbols XBT/USD; valid: BTC/USD"),
        ({"provider": "binance", "kind": "stream_silent", "count": 3}, "stream_silent does not count trades"),
        ({"provider": "binance", "kind": "trade_rate", "parameters": {"per_s": 1_001}}, "per_s: Input should be less than or equal to 1000"),
    ],
)
def test_invalid_faults_are_refused(book, payload, message):
    with pytest.raises(BadFault, match=message):
        book.add(payload, 0)


def test_faults_of_streams_do_not_count_requests(book):
    fault(book, "stream_drop", count=1)
    assert book.take("binance", 0) == []
    assert [active["hits"] for active in book.active(0)] == [0]


def test_actions_are_over_at_once(book):
    fault(book, "stream_close")
    assert book.active(0) == []


def test_the_ledger_keeps_runs_in_the_order_of_sending():
    entry = ConnectionEntry(1, "binance", "/ws", 0)
    entry.note("BTCUSDT", trades(1, 2, 3))
    entry.note("BTCUSDT", trades(4, 4, 6, 5))
    assert entry.sent == {"BTCUSDT": [[1, 4], [4, 4], [6, 6], [5, 5]]}
    assert entry.trades == 7


def test_the_ledger_is_read_in_pages():
    ledger = StreamLedger()
    for _ in range(3):
        ledger.open("kraken", "/v2", 0)
    ledger.refilled("kraken", "BTC/USD", trades(9, 8), 5)
    page = ledger.page(1, 0, 1)
    assert [entry["connection"] for entry in page["connections"]] == [2]
    assert page["refills"] == [{"refill": 1, "venue": "kraken", "symbol": "BTC/USD", "ts_ms": 5, "sent": [[8, 9]]}]
    assert (page["next_since"], page["next_since_refill"]) == (2, 1)
