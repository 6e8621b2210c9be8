"""REST trades of the exchanges with a stream, as their clients page through them to fill gaps.

Shapes, limits and cursors as documented: Binance `/api/v3/trades`, `/api/v3/historicalTrades`; Kraken `/0/public/Trades`; Coinbase Exchange
`/products/{id}/trades` and `/products/{id}/candles`.
"""

from __future__ import annotations

from typing import Any

from cryptoviz.times import iso_ms
from market.dialects.base import Answer, Request, View, whole_number
from market.tape import Trade
from market.trade_book import Instrument

__all__ = ["binance_trades", "coinbase_candles", "coinbase_trades", "kraken_trades"]

_BINANCE_ROWS, _MOST_ROWS = 500, 1_000
_MAX_CANDLES = 300
_GRANULARITIES_S = frozenset({60, 300, 900, 3_600, 21_600, 86_400})


def binance_trades(request: Request, view: View, instrument: Instrument) -> Answer:
    """The last trades, or `limit` from `fromId` on, inclusive; oldest first."""
    query = request.query
    limit, from_id = whole_number(query.get("limit", str(_BINANCE_ROWS))), whole_number(query.get("fromId"))
    if limit is None or ("fromId" in query and from_id is None):
        return Answer(400, {"code": -1100, "msg": "Illegal characters found in a parameter."}, request.path)
    if not 1 <= limit <= _MOST_ROWS:
        return Answer(400, {"code": -1130, "msg": "Data sent for parameter 'limit' is not valid."}, request.path)
    historical = request.path.endswith("historicalTrades")
    trades = _from_id(view, instrument, from_id, limit) if historical and from_id is not None else _last(view, instrument, None, limit)
    steps, unit = instrument.steps, 1 if request.headers.get("x-mbx-time-unit", "").upper() == "MICROSECOND" else 1_000
    rows = []
    for trade in trades:
        quote = instrument.amount(trade.price * trade.size, steps.price + steps.size)
        price, size = instrument.amount(trade.price, steps.price), instrument.amount(trade.size, steps.size)
        made = {"id": trade.trade_id, "price": price, "qty": size, "quoteQty": quote, "time": _wall_us(view, trade) // unit}
        rows.append(made | {"isBuyerMaker": not trade.buy, "isBestMatch": True})
    return Answer(200, rows, request.path, refilled=(instrument, trades))


def kraken_trades(request: Request, view: View, instrument: Instrument, key: str) -> Answer:
    """At most `count` trades after `since` (ns, exclusive), or the last; `last` is the time of the last in ns."""
    query = request.query
    since, count = _nanoseconds(query.get("since")), whole_number(query.get("count", str(_MOST_ROWS)))
    if count is None or not 1 <= count <= _MOST_ROWS or ("since" in query and since is None):
        return Answer(200, {"error": ["EGeneral:Invalid arguments"]}, request.path)
    if since is None:
        trades = _last(view, instrument, None, count)
    else:
        after_us = view.trades.clock.elapsed_us(since // 1_000 - view.stamp_shift_ms * 1_000)
        refill = view.refill(instrument)
        trades = instrument.tape.since(max(after_us, refill.from_us), refill.until_us, count)
    steps = instrument.steps
    rows: list[list[Any]] = []
    for trade in trades:
        side = "b" if trade.buy else "s"
        rows.append([steps.price_text(trade.price), steps.size_text(trade.size), _wall_us(view, trade) / 1e6, side, "m", "", trade.trade_id])
    last = _wall_us(view, trades[-1]) * 1_000 if trades else since or view.now_ms * 1_000_000
    return Answer(200, {"error": [], "result": {key: rows, "last": str(last)}}, request.path, refilled=(instrument, trades))


def coinbase_trades(request: Request, view: View, instrument: Instrument) -> Answer:
    """At most `limit` trades, newest first: the last, those older than the id `after`, or the last of those newer than `before`."""
    endpoint, query = "/products/{id}/trades", request.query
    numbers = {name: whole_number(query[name]) for name in ("limit", "after", "before") if name in query}
    limit = numbers.get("limit", _MOST_ROWS)
    if None in numbers.values() or limit is None or limit < 1:
        return Answer(400, {"message": "Invalid limit"}, endpoint)
    trades = _last(view, instrument, numbers.get("after"), min(limit, _MOST_ROWS))
    before = numbers.get("before")
    trades = [trade for trade in reversed(trades) if before is None or trade.trade_id > before]
    steps = instrument.steps
    rows = []
    for trade in trades:
        # the maker's side
        made = {"trade_id": trade.trade_id, "side": "sell" if trade.buy else "buy", "size": steps.size_text(trade.size)}
        rows.append(made | {"price": steps.price_text(trade.price), "time": _iso_us(_wall_us(view, trade))})
    cursors = {"cb-before": str(trades[0].trade_id), "cb-after": str(trades[-1].trade_id)} if trades else {}
    return Answer(200, rows, endpoint, headers=cursors, refilled=(instrument, trades))


def coinbase_candles(request: Request, view: View, instrument: Instrument) -> Answer:
    """At most 300 candles `[start s, low, high, open, close, volume]`, newest first; none for an interval without trades."""
    endpoint, query = "/products/{id}/candles", request.query
    step = whole_number(query.get("granularity", "60"))
    start, end = whole_number(query.get("start")), whole_number(query.get("end"))
    if step not in _GRANULARITIES_S:
        return Answer(400, {"message": "Unsupported granularity"}, endpoint)
    last = min(end if end is not None else view.now_ms // 1_000, view.now_ms // 1_000)
    first = start if start is not None else last - (_MAX_CANDLES - 1) * step
    if (last - first) // step >= _MAX_CANDLES:
        text_ = "granularity too small for the requested time range. Count of aggregations requested exceeds 300"
        return Answer(400, {"message": text_}, endpoint)
    rows: list[list[Any]] = []
    for at in range(-(-first // step) * step, last + 1, step):
        begin_ms, end_ms = at * 1_000, min((at + step) * 1_000, view.now_ms + 1)
        made = view.trades.candle("coinbase", instrument.listing, begin_ms, end_ms, view.now_ms)
        if made is None:
            part = view.market.candle(view.price_view, instrument.coin, begin_ms, end_ms)
            rows.append([at, *(round(price, instrument.steps.price) for price in (part.low, part.high, part.open, part.close)), part.coins])
        elif made.trades:
            unit = 10**instrument.steps.price
            prices = [value / unit for value in (made.low, made.high, made.open, made.close)]
            rows.append([at, *prices, made.size / 10**instrument.steps.size])
    return Answer(200, rows[::-1], endpoint)


def _from_id(view: View, instrument: Instrument, from_id: int, limit: int) -> list[Trade]:
    refill = view.refill(instrument)
    first = max(from_id, instrument.tape.count(refill.from_us - 1) + 1)
    return instrument.tape.trades(first, refill.until_us, limit)


def _last(view: View, instrument: Instrument, before_id: int | None, limit: int) -> list[Trade]:
    refill = view.refill(instrument)
    end = instrument.tape.count(refill.until_us) + 1
    trades = instrument.tape.last(end if before_id is None else min(end, before_id), refill.until_us, limit)
    return [trade for trade in trades if trade.time_us >= refill.from_us]


def _wall_us(view: View, trade: Trade) -> int:
    return view.trades.wall_us(trade.time_us) + view.stamp_shift_ms * 1_000


def _iso_us(time_us: int) -> str:
    return f"{iso_ms(time_us // 1_000)[:19]}.{time_us % 1_000_000:06d}Z"


def _nanoseconds(given: str | None) -> int | None:
    """Kraken takes seconds, also with decimals, and nanoseconds."""
    if given is None or not given.replace(".", "", 1).isdecimal() or len(given) > 24:
        return None
    whole, _, decimals = given.partition(".")
    number = int(whole or "0")
    return number if number >= 10**14 else number * 10**9 + int(decimals.ljust(9, "0")[:9] or "0")
