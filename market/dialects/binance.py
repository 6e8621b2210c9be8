"""Binance spot, market data under `/api/v3`: `ticker/24hr`, `klines`, `trades`, `historicalTrades`, `exchangeInfo`, `ping`, `time`.

Shapes, weights and errors as documented at developers.binance.com and as seen in recorded bodies. Quotes are in USDT, at the recorded price and the
exchange's step. `MATICUSDT`, delisted in 2024, remains as a symbol without a price, as delisted symbols do there.
"""

from __future__ import annotations

import json
import re
from typing import Any

from cryptoviz.times import DAY_MS
from market.coins import ReplayedCoin
from market.dialects.base import Answer, Dialect, Request, View, finish_row, fixed, listed, listed_coins, price_text, whole_number
from market.dialects.refill import binance_trades
from market.quotes import Quote
from market.spans import UNIT_MS, Span, candle_starts
from market.trade_book import VENUES

__all__ = ["Binance"]

_DECIMALS = 8
"""Decimals of all amounts."""
_DELISTED = "MATICUSDT"
_QUOTE = "USDT"
_BAN_MESSAGE = "Way too much request weight used; IP banned until {}. Please use WebSocket Streams for live updates to avoid bans."
_LIMIT_MESSAGE = (
    "Too much request weight used; current limit is {} request weight per 1 MINUTE. "
    "Please use WebSocket Streams for live updates to avoid polling the API."
)
_REGION_MESSAGE = (
    "Service unavailable from a restricted location according to 'b. Eligibility' in https://www.binance.com/en/terms. "
    "Please contact customer service if you believe you received this message in error."
)
_ERRORS: dict[int, tuple[int, str]] = {
    400: (-1121, "Invalid symbol."),
    401: (-2015, "Invalid API-key, IP, or permissions for action."),
    408: (-1007, "Timeout waiting for response from backend server. Send status unknown; execution status unknown."),
    451: (0, _REGION_MESSAGE),
    500: (-1000, "An unknown error occurred while processing the request."),
    503: (-1001, "Internal error; unable to process your request. Please try again."),
    504: (-1007, "Timeout waiting for response from backend server. Send status unknown; execution status unknown."),
}
_MESSAGES = {-1121: "Invalid symbol.", -1120: "Invalid interval.", -1128: "Combination of optional parameters invalid."}
_WAF = b"<html>\r\n<head><title>403 Forbidden</title></head>\r\n<body>\r\n<center><h1>403 Forbidden</h1></center>\r\n</body>\r\n</html>\r\n"
_NOT_FOUND = b"<html><body><h2>404 Not found</h2></body></html>"
_HTML = {"Content-Type": "text/html"}
_SYMBOL = re.compile(r"[A-Z0-9\-_.]{1,20}")
_INTERVALS = {
    name: int(name[:-1]) * UNIT_MS[name[-1]] for name in ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w")
}
"""Interval lengths in ms. Months, which have no fixed length, are not supported."""
_MONDAY_MS = 4 * DAY_MS
"""Offset of weeks: the epoch was a Thursday, weeks begin on Mondays."""
_KLINES, _MAX_KLINES = 500, 1000
_AMOUNTS = ("openPrice", "highPrice", "lowPrice", "lastPrice", "volume", "quoteVolume")
_MINI = frozenset({"symbol", *_AMOUNTS, "openTime", "closeTime", "firstId", "lastId", "count"})


class Binance(Dialect):
    """Binance's dialect."""

    name = "binance"
    price_view = VENUES["binance"].price_view
    shapes: tuple[str, ...] = ("mini",)
    price_key = "lastPrice"
    bans = True

    def weight(self, request: Request) -> int:
        """As documented: 2, 40 or 80 for tickers by the number of symbols, 2 for klines, 25 for trades, 20 for exchangeInfo, 1 otherwise."""
        if request.path == "/api/v3/ticker/24hr":
            if "symbol" in request.query:
                return 2
            symbols = request.query.get("symbols", "").count(",") + 1 if "symbols" in request.query else 10**6
            return 2 if symbols <= 20 else 40 if symbols <= 100 else 80
        return {"/api/v3/klines": 2, "/api/v3/exchangeInfo": 20, "/api/v3/trades": 25, "/api/v3/historicalTrades": 25}.get(request.path, 1)

    def answer(self, request: Request, view: View) -> Answer:
        known = {
            "/api/v3/ping": self._ping,
            "/api/v3/time": self._time,
            "/api/v3/ticker/24hr": self._tickers,
            "/api/v3/klines": self._klines,
            "/api/v3/exchangeInfo": self._info,
            "/api/v3/trades": self._trades,
            "/api/v3/historicalTrades": self._trades,
        }
        if request.path not in known:
            return Answer(404, _NOT_FOUND, request.path, headers=_HTML | _used(view))
        answer = known[request.path](request, view)
        answer.headers |= _used(view)
        return answer

    def error(self, request: Request, status: int, view: View, code: int | None = None, retry_after_s: int | None = None) -> Answer:
        """JSON with `code` and `msg`; 403 and 404 are HTML, from the firewall and web server in front of the API."""
        headers = _used(view) | ({} if retry_after_s is None else {"Retry-After": str(retry_after_s)})
        if status in (403, 404) and code is None:
            return Answer(status, _WAF if status == 403 else _NOT_FOUND, request.path, headers=headers | _HTML)
        if status == 429:
            usual, message = -1003, _LIMIT_MESSAGE.format(view.usage.minute_limit)
        elif status == 418:
            usual, message = -1003, _BAN_MESSAGE.format(view.usage.banned_until_ms or view.now_ms + 120_000)
        else:
            usual, message = _ERRORS.get(status, (-1000, "An unknown error occurred while processing the request."))
        if code is not None and code != usual:
            message = _MESSAGES.get(code, message)
        return Answer(status, {"code": usual if code is None else code, "msg": message}, request.path, headers=headers)

    def limited(self, request: Request, view: View, *, month: bool) -> Answer:
        """429 until the end of the minute; 418 while banned; both with `Retry-After`. Binance has no month limit, so it is treated as a ban."""
        if view.usage.banned_until_ms > view.now_ms:
            return self.error(request, 418, view, retry_after_s=-(-(view.usage.banned_until_ms - view.now_ms) // 1000))
        return self.error(request, 418 if month else 429, view, retry_after_s=60 - view.now_ms // 1000 % 60)

    def _ping(self, request: Request, view: View) -> Answer:
        del view
        return Answer(200, {}, request.path)

    def _time(self, request: Request, view: View) -> Answer:
        return Answer(200, {"serverTime": view.now_ms + view.stamp_shift_ms}, request.path)

    def _tickers(self, request: Request, view: View) -> Answer:
        query, coins, quotes = request.query, listed_coins(view), listed(view)
        if "symbol" in query and "symbols" in query:
            return self.error(request, 400, view, code=-1128)
        wanted = _symbols(query.get("symbols")) if "symbols" in query else [query["symbol"]] if "symbol" in query else [*coins, _DELISTED]
        if wanted is None or not all(map(_SYMBOL.fullmatch, wanted)):
            legal = "^[A-Z0-9-_.]{1,20}$"
            body = {"code": -1100, "msg": f"Illegal characters found in parameter 'symbol{'s' * ('symbols' in query)}'; legal range is '{legal}'."}
            return Answer(400, body, request.path)
        if any(symbol not in coins and symbol != _DELISTED for symbol in wanted):
            return self.error(request, 400, view)
        mini = query.get("type", "FULL").upper() == "MINI" or view.shape == "mini"
        rows, prices = [], {}
        for symbol in wanted:
            if symbol in quotes:
                quote = quotes[symbol]
                row = _mini(finish_row(_row(symbol, quote, view), quote), mini)
                prices[symbol + quote.renamed] = row["lastPrice"]
                rows.append(row)
            elif symbol == _DELISTED:
                rows.append(_mini(_dead_row(view), mini))
        if "symbol" in query:
            return Answer(200, rows[0], request.path, prices) if rows else self.error(request, 400, view)
        return Answer(200, rows, request.path, prices)

    def _klines(self, request: Request, view: View) -> Answer:
        query, coins = request.query, listed_coins(view)
        for name in ("symbol", "interval"):
            if not query.get(name):
                text = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
                return Answer(400, {"code": -1102, "msg": text}, request.path)
        if query["symbol"] == _DELISTED:
            return Answer(200, [], request.path)
        if query["symbol"] not in coins:
            return self.error(request, 400, view)
        step = _INTERVALS.get(query["interval"])
        if step is None:
            return self.error(request, 400, view, code=-1120)
        numbers = [whole_number(query[name]) for name in ("startTime", "endTime", "limit") if name in query]
        if None in numbers:
            return Answer(400, {"code": -1100, "msg": "Illegal characters found in a parameter."}, request.path)
        offset = _MONDAY_MS if step == UNIT_MS["w"] else 0
        limit = min(whole_number(query.get("limit")) or _KLINES, _MAX_KLINES)
        start, end = whole_number(query.get("startTime")), whole_number(query.get("endTime"))
        starts = candle_starts(step, start, end, view.now_ms, limit, offset)
        return Answer(200, [_kline(view, coins[query["symbol"]], at, step) for at in starts], request.path)

    def _trades(self, request: Request, view: View) -> Answer:
        instrument = view.trades.listed(self.name, request.query.get("symbol", ""))
        return self.error(request, 400, view) if instrument is None else binance_trades(request, view, instrument)

    def _info(self, request: Request, view: View) -> Answer:
        query, coins = request.query, listed_coins(view)
        wanted = _symbols(query.get("symbols")) if "symbols" in query else [query["symbol"]] if "symbol" in query else [*coins, _DELISTED]
        if wanted is None or any(symbol not in coins and symbol != _DELISTED for symbol in wanted):
            return self.error(request, 400, view)
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": view.usage.minute_limit}
        body = {
            "timezone": "UTC",
            "serverTime": view.now_ms + view.stamp_shift_ms,
            "rateLimits": [limit],
            "exchangeFilters": [],
            "symbols": [_listing(symbol) for symbol in wanted],
        }
        return Answer(200, body, request.path)


def _used(view: View) -> dict[str, str]:
    used = str(view.usage.minute_used)
    return {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}


def _symbols(text: str | None) -> list[str] | None:
    """Parse the JSON array of `symbols`; None if invalid."""
    try:
        value = json.loads(text or "")
    except ValueError:
        return None
    return value if isinstance(value, list) and value and all(isinstance(symbol, str) for symbol in value) else None


def _amount(value: float) -> str:
    return fixed(value, _DECIMALS)


def _prices(view: View, coin: ReplayedCoin, part: Span) -> dict[str, str]:
    """Open, high, low and close at the exchange's price step, as amounts."""
    step = view.market.price_decimals(coin)
    return {name: _amount(round(getattr(part, name), step)) for name in ("open", "high", "low", "close")}


def _row(symbol: str, quote: Quote, view: View) -> dict[str, Any]:
    day = view.market.last_24h(view.price_view, quote.coin, quote.stamp_ms - view.stamp_shift_ms)
    step = view.market.price_decimals(quote.coin)
    shown, now, before, tick = _prices(view, quote.coin, day), round(quote.price, step), round(day.open, step), 10.0**-step
    return {
        "symbol": symbol + quote.renamed,
        "priceChange": _amount(now - before),
        "priceChangePercent": fixed((now / before - 1) * 100, 3),
        "weightedAvgPrice": _amount(day.average),
        "prevClosePrice": shown["open"],
        "lastPrice": price_text(quote, now, max(step, _DECIMALS)),
        "lastQty": _amount(day.coins / day.trades),
        "bidPrice": _amount(now - tick),
        "bidQty": _amount(day.coins / day.trades),
        "askPrice": _amount(now + tick),
        "askQty": _amount(day.coins / day.trades),
        "openPrice": shown["open"],
        "highPrice": shown["high"],
        "lowPrice": shown["low"],
        "volume": _amount(day.coins),
        "quoteVolume": _amount(day.usd),
        "openTime": quote.stamp_ms - DAY_MS,
        "closeTime": quote.stamp_ms,
        "firstId": quote.stamp_ms - day.trades,
        "lastId": quote.stamp_ms - 1,
        "count": day.trades,
    }


def _dead_row(view: View) -> dict[str, Any]:
    others = ("priceChange", "weightedAvgPrice", "prevClosePrice", "lastQty", "bidPrice", "bidQty", "askPrice", "askQty")
    stamp = view.now_ms + view.stamp_shift_ms
    row: dict[str, Any] = {"symbol": _DELISTED, **dict.fromkeys((*others, *_AMOUNTS), _amount(0)), "priceChangePercent": "0.000"}
    return row | {"openTime": stamp - DAY_MS, "closeTime": stamp, "firstId": -1, "lastId": -1, "count": 0}


def _mini(row: dict[str, Any], mini: bool) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key in _MINI} if mini else row


def _kline(view: View, coin: ReplayedCoin, start_ms: int, step_ms: int) -> list[Any]:
    end_ms, close_ms = min(start_ms + step_ms, view.now_ms + 1), start_ms + step_ms - 1
    listing = coin.listing("binance") or ""
    made, instrument = view.trades.candle("binance", listing, start_ms, end_ms, view.now_ms), view.trades.listed("binance", listing)
    if made is not None and instrument is not None:
        row = instrument.kline(made)
        return [start_ms, *row[:5], close_ms, row[5], made.trades, *row[6:], "0"]
    part = view.market.candle(view.price_view, coin, start_ms, end_ms)
    shown = _prices(view, coin, part)
    # before the first trade: half of the volume is taken by buyers
    taken = [_amount(part.coins / 2), _amount(part.usd / 2)]
    return [start_ms, *shown.values(), _amount(part.coins), close_ms, _amount(part.usd), part.trades, *taken, "0"]


def _listing(symbol: str) -> dict[str, Any]:
    listed = symbol != _DELISTED
    allowed = (
        "icebergAllowed",
        "ocoAllowed",
        "otoAllowed",
        "quoteOrderQtyMarketAllowed",
        "allowTrailingStop",
        "cancelReplaceAllowed",
        "amendAllowed",
    )
    precisions = ("baseAssetPrecision", "quotePrecision", "quoteAssetPrecision", "baseCommissionPrecision", "quoteCommissionPrecision")
    return {
        "symbol": symbol,
        "status": "TRADING" if listed else "BREAK",
        "baseAsset": symbol.removesuffix(_QUOTE),
        "quoteAsset": _QUOTE,
        **dict.fromkeys(precisions, _DECIMALS),
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"],
        **dict.fromkeys(allowed, True),
        "isSpotTradingAllowed": listed,
        "isMarginTradingAllowed": listed,
        "filters": [],
        "permissions": [],
        "permissionSets": [["SPOT", "MARGIN"]] if listed else [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"],
    }
