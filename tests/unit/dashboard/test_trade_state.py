"""What pages see of trades equals what the topics have."""

from __future__ import annotations

import json
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from cryptoviz.trades.gap_change import GapChange
from cryptoviz.trades.quote import QuoteRecord
from cryptoviz.trades.record import Trade
from dashboard.pages.registry import pages_of
from dashboard.trade_state import TAPE, TradeState
from dashboard.views.texts import texts
from dashboard.views.trade_bars import HALTED, MISSING, TradeBar, join_bars, marked_candles
from dashboard.views.trade_rows import Instrument, gap_table, instrument_table, tape_row
from tests.support.dashboard_server import new_app_context
from tests.support.trades import AT_US, change, trade, trade_values

BTC = Instrument("binance", "BTCUSDT", "bitcoin", "USDT")
MINUTE_US = 60_000_000
SINCE_US = AT_US - AT_US % MINUTE_US + MINUTE_US


class Pages:
    """What waits for a change."""

    def __init__(self) -> None:
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1


def trades(numbers: range, **changes: object) -> list[Trade]:
    return [Trade.from_json(value) for _, value in trade_values(numbers, **changes)]


@pytest.fixture
def state() -> TradeState:
    made = TradeState([BTC], lambda: 0.0)
    made.restart(AT_US)
    return made


def test_the_tape_is_bounded_newest_first_and_each_page_gets_only_what_is_new(state: TradeState) -> None:
    state.apply(trades(range(1, TAPE + 51)))
    found = state.tape(BTC, -1, 1000)
    assert [one.trade_number for _, one in found] == list(range(TAPE + 50, 50, -1))
    assert [one.trade_number for _, one in state.tape(BTC, -1, 3)] == [TAPE + 50, TAPE + 49, TAPE + 48]
    state.apply(trades(range(TAPE + 51, TAPE + 53)))
    assert [one.trade_number for _, one in state.tape(BTC, found[0][0], 1000)] == [TAPE + 52, TAPE + 51]


def test_the_tape_shows_the_venues_text_and_the_takers_side() -> None:
    one = Trade.from_json(trade_values(range(7, 8), side="sell", price="0.00000123", size="12345678901234567890.5", source="refill")[0][1])
    assert tape_row(4, one) == [4, (AT_US + 7 * 1001) // 1000, False, "0.00000123", "12345678901234567890.5", "7", True]


def test_bars_of_lake_and_feed_add_up_to_those_of_all_trades_wherever_the_feed_begins(state: TradeState) -> None:
    numbers = list(range(1, 180_001, 40))
    every = [Trade.from_json(trade_values(range(number, number + 1))[0][1]) for number in numbers]

    def expected(some: list[Trade], step_us: int) -> list[TradeBar]:
        grouped: dict[int, list[Trade]] = {}
        for one in some:
            assert one.venue_ts is not None
            grouped.setdefault(one.venue_ts // step_us * step_us, []).append(one)
        return [
            TradeBar(
                start // 1000, float(rows[0].price), max(float(row.price) for row in rows), min(float(row.price) for row in rows),
                float(rows[-1].price), float(sum(Decimal(row.size) for row in rows)), len(rows),
                rows[0].trade_number or 0, rows[-1].trade_number or 0,
            )
            for start, rows in sorted(grouped.items())
        ]  # fmt: skip

    rng = random.Random(7)
    for interval, step_us in (("1m", MINUTE_US), ("5m", 5 * MINUTE_US)):
        since = AT_US + rng.randrange(60, 170) * 1_000_000
        state.restart(since)
        late = [one for one in every if rng.random() < 0.1]
        state.apply([one for one in every if one not in late])
        assert len(state.bars(BTC, interval)[1]) > 0
        state.apply(late)
        until, live = state.bars(BTC, interval)
        assert until == since
        stored = expected([one for one in every if (one.venue_ts or 0) < until], step_us)
        wanted = expected(every, step_us)
        found = join_bars(stored, live)
        assert [(bar.start_ms, bar.open, bar.high, bar.low, bar.close, bar.trades, bar.first, bar.last) for bar in found] == [
            (bar.start_ms, bar.open, bar.high, bar.low, bar.close, bar.trades, bar.first, bar.last) for bar in wanted
        ]
        assert [bar.volume for bar in found] == pytest.approx([bar.volume for bar in wanted], rel=1e-12)


def test_gaps_and_halts_mark_the_candles_that_they_touch() -> None:
    bars = [TradeBar(minute * 60_000, 1, 1, 1, 1, 1, 1, 1, 1) for minute in range(6)]
    gap = GapChange.from_json(change("a", "open", 0, from_ts=MINUTE_US + 5, to_ts=2 * MINUTE_US + 5))
    halt = GapChange.from_json(change("b", "halt", 0, from_ts=4 * MINUTE_US + 1, to_ts=4 * MINUTE_US + 2))
    closed = GapChange.from_json(change("c", "refilled", 0, from_ts=0, to_ts=6 * MINUTE_US))
    assert [one.marks for one in marked_candles(bars, [gap, halt, closed], 60_000)] == [0, MISSING, MISSING, 0, HALTED, 0]


def test_a_gap_has_its_newest_state_and_is_counted(state: TradeState) -> None:
    state.apply(trades(range(1, 3)), [GapChange.from_json(change("a", "open", 5))])
    (row,) = state.instruments(0)
    assert (row.open_gaps, row.missing, row.halts) == (1, 10, 0)
    state.apply([], [GapChange.from_json(change("a", "refilled", 9)), GapChange.from_json(change("a", "open", 5))])
    (row,) = state.instruments(0)
    assert (row.open_gaps, row.missing) == (0, 0)
    assert [gap.state for gap in state.gaps(BTC)[1]] == ["refilled"]


def quote(bid: str = "36998.8", ask: str = "37001.2", **changes: object) -> QuoteRecord:
    fields = {
        "quote_id": "a-1", "venue": "binance", "venue_symbol": "BTCUSDT", "asset_id": "bitcoin", "quote_currency": "USDT", "bid": bid,
        "bid_size": "1", "ask": ask, "ask_size": "2", "venue_ts": None, "ingest_ts": AT_US,
    }  # fmt: skip
    return QuoteRecord.from_json(json.dumps(fields | changes).encode())


def test_an_instrument_has_its_last_quote_and_pages_are_woken_by_another_one(state: TradeState) -> None:
    page = Pages()
    state.wait(page.wake)
    state.set_quotes([quote(), quote(venue="kraken")])
    assert page.woken == 1
    state.apply(trades(range(1, 3)))
    assert [row.quote for row in state.instruments(0)] == [quote()]
    state.wait(page.wake)
    state.set_quotes([quote(venue="kraken"), quote()])
    assert page.woken == 1
    state.set_quotes([])
    assert page.woken == 2
    assert state.instruments(0)[0].quote is None


def test_the_spread_is_a_column_while_quotes_are_on(state: TradeState) -> None:
    state.set_quotes([quote()])
    rows = state.instruments(0)
    assert "cv-spread" not in instrument_table(rows, None, 60_000, texts("en"))
    shown = instrument_table(rows, None, 60_000, texts("en"), quotes=True)
    assert ">Spread, bp</th>" in shown
    assert 'cv-spread">0.65<small class="cv-muted cv-wide-only"> 36998.8 / 37001.2</small></td>' in shown
    assert shown.count("<td") == shown.count("<th ") == 6
    state.set_quotes([])
    assert 'cv-spread">—</td>' in instrument_table(state.instruments(0), None, 60_000, texts("fr"), quotes=True)


def test_the_rate_is_of_the_last_ten_seconds_by_arrival(state: TradeState) -> None:
    now_us = AT_US + 100_000_000
    arrived = [trade(number, ingest_ts=now_us - number * 500_000) for number in range(1, 41)]  # two a second, for 20 s
    state.apply([Trade.from_json(json.dumps(one).encode()) for one in reversed(arrived)])
    assert state.instruments(now_us // 1000)[0].rate == 2.0


def test_a_page_is_woken_once_for_each_time_that_it_waits_and_is_not_kept(state: TradeState) -> None:
    page = Pages()
    for _ in range(3):
        state.wait(page.wake)
    state.wake()
    state.wake()
    assert page.woken == 1
    state.wait(page.wake)
    del page
    state.wake()


def test_nobody_looks_after_a_minute() -> None:
    now = [0.0]
    state = TradeState([BTC], lambda: now[0])
    assert not state.watched
    state.wait(Pages().wake)
    assert state.watched
    assert state.wanted.is_set()
    now[0] = 60.0
    assert not state.watched


def test_what_a_venue_sends_is_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>"
    state = TradeState([Instrument(evil, evil, "bitcoin", evil)], lambda: 0.0)
    state.apply([], [GapChange.from_json(change("a", evil, 5, venue=evil, venue_symbol=evil, quote_currency=evil, reason=evil))])
    shown = instrument_table(state.instruments(0), None, 60_000, texts("en")) + gap_table(
        state.gaps(Instrument(evil, evil, "bitcoin", evil))[1], texts("fr")
    )
    assert "<img" not in shown
    assert "&lt;img" in shown


def test_without_streams_there_is_neither_state_nor_feed_nor_page(tmp_path: Path) -> None:
    with new_app_context(tmp_path / "off") as off, new_app_context(tmp_path / "on", streams={"venues": ("binance",)}) as on:
        assert off.trades is None
        assert "trades" not in {kind.name for kind in pages_of(off.settings)}
        assert on.trades is not None
        assert BTC in on.trades.configured
        more = Counter(type(feed).__name__ for feed in on.feeds) - Counter(type(feed).__name__ for feed in off.feeds)
        assert more == {"TradeFeed": 1}
        with new_app_context(tmp_path / "quotes", streams={"venues": ("binance",), "quote_s": 1}) as quoted:
            more = Counter(type(feed).__name__ for feed in quoted.feeds) - Counter(type(feed).__name__ for feed in on.feeds)
            assert more == {"QuoteFeed": 1}
        assert "trades" in {kind.name for kind in pages_of(on.settings)}


def test_a_feed_that_begins_again_is_a_new_generation_without_the_trades_before(state: TradeState) -> None:
    state.apply(trades(range(1, 5)))
    before = state.generation
    state.restart(AT_US)
    assert state.generation == before + 1
    assert state.tape(BTC, -1, 10) == []
    assert not state.has_trades(BTC)
