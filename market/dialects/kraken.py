"""Kraken, public market data under `/0/public`: `Ticker`, `OHLC`, `Trades`, `AssetPairs`, `Time`, `SystemStatus`.

Shapes and errors as documented at docs.kraken.com and as seen in recorded bodies. Errors are in the `error` array, mostly with HTTP status 200. The
keys of a result differ from the requested pairs without a rule: `XBTUSD` becomes `XXBTZUSD`, `XDGUSD` is unchanged, though its base is `XXDG`; with
`assetVersion=1` they become `BTC/USD` and `DOGE/USD`. `MATICUSD` is no longer traded, so all its values are 0.
"""

from __future__ import annotations

from typing import Any

from market.coins import ReplayedCoin
from market.dialects.base import Answer, Dialect, Request, View, finish_row, fixed, listed, listed_coins, price_text, whole_number
from market.dialects.refill import kraken_trades
from market.quotes import Quote
from market.spans import UNIT_MS, Span, candle_starts
from market.tape import text
from market.trade_book import VENUES

__all__ = ["Kraken"]

_OLD_KEYS = {"XBTUSD": "XXBTZUSD", "ETHUSD": "XETHZUSD", "XRPUSD": "XXRPZUSD", "LTCUSD": "XLTCZUSD", "XLMUSD": "XXLMZUSD", "ETCUSD": "XETCZUSD"}
"""Pairs whose result key differs from their `altname`, from the real listing."""
_OLD_BASES = {one: f"X{one}" for one in ("XBT", "ETH", "XRP", "LTC", "XLM", "ETC", "XDG")}
"""Assets of the first years, with an `X` prefix. Includes Dogecoin's code, but not its pair's key."""
_DEAD = "MATICUSD"
_LOT_DECIMALS = 8
_OHLC_ROWS = 720
"""Maximum number of rows, independent of `since`."""
_INTERVALS_MIN = frozenset({1, 5, 15, 30, 60, 240, 1440, 10080, 21600})
_MESSAGES = {
    400: "EGeneral:Invalid arguments",
    401: "EAPI:Invalid key",
    403: "EGeneral:Permission denied",
    404: "EGeneral:Unknown method",
    418: "EGeneral:Temporary lockout",
    429: "EGeneral:Too many requests",
    500: "EGeneral:Internal error",
    503: "EService:Unavailable",
    504: "EService:Deadline elapsed",
}


class Kraken(Dialect):
    """Kraken's dialect. Prices deviate up to 4 basis points from the recorded ones, at a tenth of Binance's step; BTC's step is 0.1."""

    name = "kraken"
    price_view = VENUES["kraken"].price_view
    shapes: tuple[str, ...] = ("asset_version_1",)
    price_key = "c"

    def answer(self, request: Request, view: View) -> Answer:
        known = {
            "Ticker": self._ticker,
            "OHLC": self._ohlc,
            "Trades": self._trades,
            "AssetPairs": self._pairs,
            "Time": self._time,
            "SystemStatus": self._status,
        }
        method = request.path.removeprefix("/0/public/")
        if method not in known:
            return self.error(request, 404, view)
        return known[method](request, view)

    def error(self, request: Request, status: int, view: View, code: int | None = None, retry_after_s: int | None = None) -> Answer:
        """JSON with the `error` array; Kraken's codes are texts, so `code` is not used."""
        del view, code
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        return Answer(status, {"error": [_MESSAGES.get(status, "EService:Busy")]}, request.path, headers=headers)

    def limited(self, request: Request, view: View, *, month: bool) -> Answer:
        """An error with status 200, without a wait time."""
        del month
        answer = self.error(request, 429, view)
        answer.status = 200
        return answer

    def _time(self, request: Request, view: View) -> Answer:
        return Answer(200, {"error": [], "result": {"unixtime": (view.now_ms + view.stamp_shift_ms) // 1000}}, request.path)

    def _status(self, request: Request, view: View) -> Answer:
        del view
        return Answer(200, {"error": [], "result": {"status": "online"}}, request.path)

    def _asked(self, request: Request, view: View) -> list[str] | None:
        """The requested pairs in `altname` form; None if any pair is unknown, since Kraken then fails the request."""
        coins = listed_coins(view)
        if "pair" not in request.query:
            return [*coins, _DEAD]
        names = {name: pair for pair in (*coins, _DEAD) for name in (pair, _key(pair, None), _slashed(pair), _key(pair, "asset_version_1"))}
        asked = [part.strip() for part in request.query["pair"].split(",") if part.strip()]
        return [names[name] for name in dict.fromkeys(asked)] if asked and all(name in names for name in asked) else None

    def _ticker(self, request: Request, view: View) -> Answer:
        pairs, quotes, shape = self._asked(request, view), listed(view), _shape(request, view)
        if pairs is None:
            return _unknown_pair(request)
        result, prices = {}, {}
        for pair in pairs:
            if pair == _DEAD:
                result[_key(pair, shape)] = _dead_row()
            elif pair in quotes:
                quote = quotes[pair]
                row = finish_row(_row(pair, quote, view), quote)
                result[_key(pair, shape) + quote.renamed] = row
                prices[pair + quote.renamed] = row["c"][0]
        return Answer(200, {"error": [], "result": result}, request.path, prices)

    def _ohlc(self, request: Request, view: View) -> Answer:
        query, pairs, coins = request.query, self._asked(request, view), listed_coins(view)
        minutes, since = whole_number(query.get("interval", "1")), whole_number(query.get("since", "0"))
        if "pair" not in query or minutes not in _INTERVALS_MIN or since is None:
            return Answer(200, {"error": [_MESSAGES[400]]}, request.path)
        if pairs is None or len(pairs) != 1:
            return _unknown_pair(request)
        step = minutes * UNIT_MS["m"]
        # the last row is the open candle; `since` is exclusive
        starts = [at for at in candle_starts(step, None, None, view.now_ms, _OHLC_ROWS) if at > since * 1000]
        rows = [_ohlc_row(pairs[0], coins[pairs[0]], at, step, view) for at in starts] if pairs[0] in coins else []
        last = view.now_ms // step * step - step
        return Answer(200, {"error": [], "result": {_key(pairs[0], _shape(request, view)): rows, "last": last // 1000}}, request.path)

    def _trades(self, request: Request, view: View) -> Answer:
        pairs = self._asked(request, view)
        if "pair" not in request.query or pairs is None or len(pairs) != 1:
            return _unknown_pair(request)
        instrument, key = view.trades.listed(self.name, pairs[0]), _key(pairs[0], _shape(request, view))
        if instrument is None:
            return Answer(200, {"error": [], "result": {key: [], "last": "0"}}, request.path)
        return kraken_trades(request, view, instrument, key)

    def _pairs(self, request: Request, view: View) -> Answer:
        pairs, coins, shape = self._asked(request, view), listed_coins(view), _shape(request, view)
        if pairs is None:
            return _unknown_pair(request)
        return Answer(200, {"error": [], "result": {_key(pair, shape): _listing(pair, coins.get(pair), view, shape) for pair in pairs}}, request.path)


def _unknown_pair(request: Request) -> Answer:
    return Answer(200, {"error": ["EQuery:Unknown asset pair"]}, request.path)


def _shape(request: Request, view: View) -> str | None:
    return "asset_version_1" if request.query.get("assetVersion") == "1" else view.shape


def _slashed(pair: str) -> str:
    return f"{pair.removesuffix('USD')}/USD"


def _key(pair: str, shape: str | None) -> str:
    """Key of a pair in the result."""
    if shape == "asset_version_1":
        return VENUES["kraken"].symbol(pair)
    return _OLD_KEYS.get(pair, pair)


def _decimals(pair: str, coin: ReplayedCoin, view: View) -> int:
    return VENUES["kraken"].price_decimals(pair, view.market.price_decimals(coin))


def _row(pair: str, quote: Quote, view: View) -> dict[str, Any]:
    stamp_ms = quote.stamp_ms - view.stamp_shift_ms
    spans = [view.market.today(view.price_view, quote.coin, stamp_ms), view.market.last_24h(view.price_view, quote.coin, stamp_ms)]
    digits = _decimals(pair, quote.coin, view)
    now, tick = round(quote.price, digits), 10.0**-digits
    lot = fixed(spans[1].coins / spans[1].trades, _LOT_DECIMALS)
    return {
        "a": [fixed(now + tick, digits), "1", "1.000"],
        "b": [fixed(now - tick, digits), "1", "1.000"],
        "c": [price_text(quote, now, digits), lot],
        "v": [fixed(part.coins, _LOT_DECIMALS) for part in spans],
        "p": [fixed(part.average, digits) for part in spans],
        "t": [part.trades for part in spans],
        "l": [fixed(part.low, digits) for part in spans],
        "h": [fixed(part.high, digits) for part in spans],
        "o": fixed(spans[0].open, digits),
    }


def _dead_row() -> dict[str, Any]:
    zero, lot = fixed(0, _LOT_DECIMALS), fixed(0, 3)
    pairs = {name: [zero, zero] for name in ("c", "v", "p", "l", "h")}
    return {"a": [zero, "0", lot], "b": [zero, "0", lot], **pairs, "t": [0, 0], "o": zero}


def _ohlc_row(pair: str, coin: ReplayedCoin, start_ms: int, step_ms: int, view: View) -> list[Any]:
    end_ms, digits = min(start_ms + step_ms, view.now_ms + 1), _decimals(pair, coin, view)
    made = view.trades.candle("kraken", pair, start_ms, end_ms, view.now_ms)
    if made is not None:
        vwap = round(made.value / made.size) if made.size else 0
        texts = [text(units, digits) for units in (made.open, made.high, made.low, made.close, vwap)]
        return [start_ms // 1000, *texts, text(made.size, _LOT_DECIMALS), made.trades]
    part: Span = view.market.candle(view.price_view, coin, start_ms, end_ms)
    prices = [fixed(value, digits) for value in (part.open, part.high, part.low, part.close, part.average)]
    return [start_ms // 1000, *prices, fixed(part.coins, _LOT_DECIMALS), part.trades]


def _listing(pair: str, coin: ReplayedCoin | None, view: View, shape: str | None) -> dict[str, Any]:
    base, is_new = pair.removesuffix("USD"), shape == "asset_version_1"
    dollar = "USD" if is_new else "ZUSD"
    digits = 4 if coin is None else _decimals(pair, coin, view)
    return {
        "altname": pair,
        "wsname": _slashed(pair),
        "aclass_base": "currency",
        "base": _key(pair, shape).removesuffix("/USD") if is_new else _OLD_BASES.get(base, base),
        "aclass_quote": "currency",
        "quote": dollar,
        "lot": "unit",
        "pair_decimals": digits,
        "cost_decimals": 5,
        "lot_decimals": _LOT_DECIMALS,
        "lot_multiplier": 1,
        **{name: [2, 3] for name in ("leverage_buy", "leverage_sell")},
        "fees": [[0, 0.4], [10_000, 0.35], [50_000, 0.24], [100_000, 0.22]],
        "fees_maker": [[0, 0.25], [10_000, 0.2], [50_000, 0.14], [100_000, 0.12]],
        "fee_volume_currency": dollar,
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": "0.0001",
        "costmin": "0.5",
        "tick_size": fixed(10.0**-digits, digits),
        "status": "cancel_only" if coin is None else "online",
    }
