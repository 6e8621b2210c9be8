"""The shared state: versions and wake-ups."""

from __future__ import annotations

from cryptoviz.client import PipelineStatus
from cryptoviz.components import ComponentState
from dashboard.shared_state import CONNECTING, RING_TICKS, ControlState, FeedStatus, LiveState, Wakeups
from tests.unit.dashboard.records import NOW_MS, TICK_MS, a_record


def listening() -> tuple[LiveState, list[int]]:
    calls: list[int] = []
    wakeups = Wakeups()
    wakeups.subscribe(lambda: calls.append(1))
    return LiveState(wakeups), calls


def test_records_become_latest_ticks_and_candles_and_wake_once() -> None:
    state, calls = listening()
    assert state.apply([a_record(price=1.0), a_record(price=2.0, tick_ts=NOW_MS), a_record(asset_id="x")]) == 3
    assert calls == [1]
    assert state.latest()["bitcoin"].price == 2.0
    assert state.recent_prices("bitcoin", 10) == [1.0, 2.0]
    assert state.recent_prices("bitcoin", 1) == [2.0]
    assert [one.close for one in state.candles("bitcoin", "1m")["USD"].candles] == [2.0]
    assert state.candles("unknown", "1m") == {}


def test_an_older_record_is_no_news() -> None:
    state, calls = listening()
    state.apply([a_record(price=2.0)])
    version = state.version
    assert state.apply([a_record(price=1.0, tick_ts=NOW_MS - 60_000)]) == 0
    assert state.version == version
    assert calls == [1]
    assert state.latest()["bitcoin"].price == 2.0
    assert state.recent_prices("bitcoin", 10) == [2.0]


def test_a_repeat_of_the_same_tick_is_no_second_tick() -> None:
    state, _ = listening()
    state.apply([a_record()])
    state.apply([a_record()])
    assert state.recent_prices("bitcoin", 10) == [50_000.0]


def test_two_quote_currencies_share_no_candle_and_no_line() -> None:
    state, _ = listening()
    minute = NOW_MS // 60_000 * 60_000
    prices = [("USD", 90_000.0), ("USDT", 89_000.0), ("USD", 90_010.0)]
    state.apply([a_record(tick_ts=minute + i * TICK_MS, quote_currency=currency, price=price) for i, (currency, price) in enumerate(prices)])
    found = {currency: live.candles[0] for currency, live in state.candles("bitcoin", "1m").items()}
    assert (found["USD"].open, found["USD"].high, found["USD"].low, found["USD"].close, found["USD"].ticks) == (90_000, 90_010, 90_000, 90_010, 2)
    assert (found["USDT"].open, found["USDT"].close, found["USDT"].ticks) == (89_000, 89_000, 1)
    assert state.recent_prices("bitcoin", 10) == [90_000.0, 90_010.0]
    state.apply([a_record(tick_ts=minute + 3 * TICK_MS, quote_currency="USDT", price=89_005.0)])
    assert state.recent_prices("bitcoin", 10) == [89_000.0, 89_005.0]


def test_a_snapshot_sets_values_without_ticks() -> None:
    state, _ = listening()
    state.apply([a_record()], snapshot=True)
    assert state.latest()["bitcoin"].price == 50_000.0
    assert state.recent_prices("bitcoin", 10) == []


def test_rings_are_bounded() -> None:
    state, _ = listening()
    state.apply([a_record(tick_ts=NOW_MS + i * TICK_MS, price=1.0 + i) for i in range(RING_TICKS + 10)])
    prices = state.recent_prices("bitcoin", 10**9)
    assert len(prices) == RING_TICKS
    assert prices[0] == 11.0


def test_a_status_wakes_only_when_it_is_another() -> None:
    state, calls = listening()
    assert state.status == FeedStatus(connected=False, message=CONNECTING)
    state.set_status(FeedStatus(connected=True))
    state.set_status(FeedStatus(connected=True))
    assert calls == [1]


def test_a_subscriber_that_left_is_not_called() -> None:
    wakeups, calls = Wakeups(), []
    leave = wakeups.subscribe(lambda: calls.append(1))
    leave()
    leave()
    wakeups.wake()
    assert calls == []
    assert len(wakeups) == 0


def test_a_lost_control_service_leaves_the_last_status() -> None:
    state = ControlState(Wakeups())
    assert state.read() == (None, CONNECTING)
    pipeline = PipelineStatus(ComponentState.RUNNING, "all components run", ())
    state.set_status(pipeline)
    assert state.read() == (pipeline, None)
    version = state.version
    state.set_lost("gone")
    state.set_lost("gone")
    assert state.read() == (pipeline, "gone")
    assert state.version == version + 1


def test_a_record_of_a_clock_a_year_ahead_is_superseded_by_the_stream() -> None:
    year = 365 * 86_400_000
    state = LiveState(Wakeups(), lambda: NOW_MS)
    state.apply([a_record(price=1.0), a_record(price=9.0, tick_ts=NOW_MS + year)])
    assert state.latest()["bitcoin"].price == 9.0
    # A snapshot may be old and does not affect the stream.
    assert state.apply([a_record(price=5.0)], snapshot=True) == 0
    assert state.apply([a_record(price=2.0, tick_ts=NOW_MS + TICK_MS)]) == 1
    assert state.latest()["bitcoin"].price == 2.0
    assert state.recent_prices("bitcoin", 10) == [1.0, 2.0]
    assert [one.close for one in state.candles("bitcoin", "1m")["USD"].candles] == [2.0]
    # Steps of hours are waited for, as in collection.
    state.apply([a_record(price=3.0, tick_ts=NOW_MS + 3_600_000)])
    assert state.apply([a_record(price=4.0, tick_ts=NOW_MS + 2 * TICK_MS)]) == 0
