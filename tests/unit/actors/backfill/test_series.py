"""Prices of ticks from a price history, without look-ahead."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.backfill.series import price_at, prices, windows
from cryptoviz.providers.history import Point, Window

TIMES = st.lists(st.integers(0, 1_000_000), unique=True, max_size=50).map(sorted)


@given(TIMES, st.integers(0, 1_000_000), st.integers(0, 1_000_000))
def test_a_tick_gets_the_newest_known_price(times: list[int], tick: int, max_age: int) -> None:
    points = [Point(at, float(at + 1)) for at in times]
    known = [at for at in times if at <= tick and tick - at <= max_age]
    found = price_at(points, tick, max_age)
    assert (found.at_ms if found else None) == (max(known) if known else None)


@given(TIMES, st.integers(1, 200_000), st.integers(0, 50_000))
def test_windows_contain_each_tick_once_and_respect_the_span(ticks: list[int], span: int, lookback: int) -> None:
    found = list(windows(ticks, span, lookback))
    assert [tick for window in found for tick in window.ticks] == ticks
    for window in found:
        assert window.from_ms == window.ticks[0] - lookback
        assert len(window.ticks) == 1 or window.to_ms - window.from_ms <= span


class Response:
    def __init__(self, points: list[Point]) -> None:
        self.points = points


async def tick_price(trades: list[int], ticks: list[int], tick: int, span: int, lookback: int, max_age: int) -> int | None:
    """The candle of length 1 assigned to `tick` if it is filled together with `ticks`; a candle with a trade at `t` ends at `t`."""

    async def fetch(window: Window) -> Response:
        return Response([Point(at, float(at + 1)) for at in trades if window.from_ms <= at <= window.to_ms])

    found: dict[int, Point] = {}
    for window in windows(ticks, span, lookback):
        async for _, priced in prices(fetch, window, span, 1, max_age):
            assert not found.keys() & priced.keys()
            found |= priced
    return found[tick].at_ms if tick in found else None


@given(
    trades=st.lists(st.integers(0, 3_000), unique=True, max_size=20).map(sorted),
    ticks=st.lists(st.integers(0, 3_000), unique=True, min_size=1, max_size=40).map(sorted),
    data=st.data(),
    span=st.integers(10, 500),
    lookback=st.integers(0, 9),
    max_age=st.integers(0, 1_500),
)
async def test_a_tick_has_one_price_whatever_is_filled_with_it(
    trades: list[int], ticks: list[int], data: st.DataObject, span: int, lookback: int, max_age: int
) -> None:
    tick = data.draw(st.sampled_from(ticks))
    # Reference: the newest trade at or before the tick that is not older than the limit.
    known = [at for at in trades if tick - max_age <= at <= tick]
    expected = max(known) if known else None
    assert await tick_price(trades, ticks, tick, span, lookback, max_age) == expected
    assert await tick_price(trades, [tick], tick, span, lookback, max_age) == expected


async def test_ticks_during_an_outage_of_an_exchange() -> None:
    # Trades until 1000 and from 2800; the limit is 900. 1900 is the last tick with a price, for any first tick.
    trades = [*range(0, 1_001, 10), *range(2_800, 4_000, 10)]
    for ticks in (list(range(0, 4_000, 100)), list(range(1_500, 4_000, 100)), [1_900, 2_000]):
        assert await tick_price(trades, ticks, 1_900, 999, 5, 900) == 1_000
        assert await tick_price(trades, ticks, 2_000, 999, 5, 900) is None
