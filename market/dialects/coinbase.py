"""Coinbase Advanced Trade, public market data under `/api/v3/brokerage`: `/market/products`, `/market/products/{id}` and its `/candles`, `/time`.

Shapes and errors as documented at docs.cdp.coinbase.com and as seen in recorded bodies. All numbers are strings.
"""

from __future__ import annotations

import re
from typing import Any

from cryptoviz.times import iso_ms
from market.coins import ReplayedCoin
from market.dialects.base import Answer, Dialect, Request, View, finish_row, fixed, listed, listed_coins, price_text, whole_number
from market.dialects.refill import coinbase_candles, coinbase_trades
from market.quotes import Quote
from market.spans import candle_starts
from market.tape import text
from market.trade_book import VENUES

__all__ = ["Coinbase"]

_PRODUCTS = "/api/v3/brokerage/market/products"
_PRODUCT = re.compile(_PRODUCTS + r"/(?P<id>[^/]+)(?P<candles>/candles)?")
_EXCHANGE = re.compile(r"/products/(?P<id>[^/]+)/(?P<what>trades|candles)")
"""Of Coinbase Exchange (api.exchange.coinbase.com), whose stream the market serves too."""
_GRANULARITIES_MIN = {
    "ONE_MINUTE": 1,
    "FIVE_MINUTE": 5,
    "FIFTEEN_MINUTE": 15,
    "THIRTY_MINUTE": 30,
    "ONE_HOUR": 60,
    "TWO_HOUR": 120,
    "FOUR_HOUR": 240,
    "SIX_HOUR": 360,
    "ONE_DAY": 1_440,
}
_MAX_CANDLES = 350
_LOT_DECIMALS = 8
_ERRORS = {
    400: ("INVALID_ARGUMENT", "invalid argument"),
    401: ("UNAUTHENTICATED", "unauthorized"),
    403: ("PERMISSION_DENIED", "forbidden"),
    404: ("NOT_FOUND", "valid product_id is required"),
    429: ("RESOURCE_EXHAUSTED", "too many requests"),
    500: ("INTERNAL", "internal server error"),
    503: ("UNAVAILABLE", "service unavailable"),
    504: ("DEADLINE_EXCEEDED", "deadline exceeded"),
}


class Coinbase(Dialect):
    """Coinbase's dialect. Prices deviate up to 3 basis points from the recorded ones, at a tenth of Binance's step; BTC's step is 0.01."""

    name = "coinbase"
    price_view = VENUES["coinbase"].price_view
    shapes: tuple[str, ...] = ("exchange_ticker",)
    price_key = "price"

    def answer(self, request: Request, view: View) -> Answer:
        answer = self._answer(request, view)
        answer.headers |= _rate_limit(view)
        return answer

    def error(self, request: Request, status: int, view: View, code: int | None = None, retry_after_s: int | None = None) -> Answer:
        """JSON with name and text (twice); Coinbase has no numeric codes, so `code` is not used."""
        del code
        name, message = _ERRORS.get(status, ("UNKNOWN", "unknown error"))
        headers = _rate_limit(view) | ({} if retry_after_s is None else {"Retry-After": str(retry_after_s)})
        if _EXCHANGE.fullmatch(request.path):
            return Answer(status, {"message": "Public rate limit exceeded" if status == 429 else message}, request.path, headers=headers)
        return Answer(status, _error(name, message), request.path, headers=headers)

    def limited(self, request: Request, view: View, *, month: bool) -> Answer:
        """429; the wait is only in the rate-limit headers."""
        del month
        return self.error(request, 429, view)

    def _answer(self, request: Request, view: View) -> Answer:
        if request.path == "/api/v3/brokerage/time":
            now = view.now_ms + view.stamp_shift_ms
            return Answer(200, {"iso": iso_ms(now)[:19] + "Z", "epochSeconds": str(now // 1000), "epochMillis": str(now)}, request.path)
        if request.path == _PRODUCTS:
            return self._products(request, view)
        if exchange := _EXCHANGE.fullmatch(request.path):
            instrument = view.trades.listed(self.name, exchange["id"])
            if instrument is None:
                return Answer(404, {"message": "NotFound"}, f"/products/{{id}}/{exchange['what']}")
            return (coinbase_trades if exchange["what"] == "trades" else coinbase_candles)(request, view, instrument)
        found = _PRODUCT.fullmatch(request.path)
        if found is None:
            return Answer(404, _error("NOT_FOUND", "not found"), request.path)
        if found["candles"]:
            return self._candles(request, view, found["id"])
        endpoint, quote = _PRODUCTS + "/{id}", listed(view).get(found["id"])
        if quote is None:
            return Answer(404, _error(*_ERRORS[404]), endpoint)
        row = finish_row(_row(found["id"], quote, view), quote)
        return Answer(200, row, endpoint, {found["id"] + quote.renamed: row["price"]})

    def _products(self, request: Request, view: View) -> Answer:
        query, quotes = request.query, listed(view)
        wanted = [part for part in query.get("product_ids", "").split(",") if part] or list(quotes)
        offset, limit = whole_number(query.get("offset", "0")), whole_number(query.get("limit", "100000"))
        if offset is None or limit is None:
            return Answer(400, _error(*_ERRORS[400]), request.path)
        found = [(product, quotes[product]) for product in dict.fromkeys(wanted) if product in quotes]
        page = found[offset : offset + limit]
        rows = [finish_row(_row(product, quote, view), quote) for product, quote in page]
        prices = {product + quote.renamed: row["price"] for (product, quote), row in zip(page, rows, strict=True)}
        return Answer(200, {"products": rows, "num_products": len(found)}, request.path, prices)

    def _candles(self, request: Request, view: View, product: str) -> Answer:
        endpoint, query, coin = _PRODUCTS + "/{id}/candles", request.query, listed_coins(view).get(product)
        if coin is None:
            return Answer(404, _error(*_ERRORS[404]), endpoint)
        minutes = _GRANULARITIES_MIN.get(query.get("granularity", ""))
        start, end = whole_number(query.get("start")), whole_number(query.get("end"))
        if minutes is None or start is None or end is None or start > end:
            return Answer(400, _error("INVALID_ARGUMENT", "start, end and granularity are required"), endpoint)
        step = minutes * 60_000
        if (end - start) * 1000 // step >= _MAX_CANDLES:
            return Answer(400, _error("INVALID_ARGUMENT", f"number of candles requested should be less than {_MAX_CANDLES} "), endpoint)
        starts = candle_starts(step, start * 1000, end * 1000, view.now_ms, whole_number(query.get("limit")) or _MAX_CANDLES)
        return Answer(200, {"candles": [_candle(product, coin, at, step, view) for at in reversed(starts)]}, endpoint)


def _error(name: str, text: str) -> dict[str, str]:
    return {"error": name, "error_details": text, "message": text}


def _rate_limit(view: View) -> dict[str, str]:
    usage = view.usage
    limit, used = (usage.minute_limit, usage.minute_used) if usage.second_limit is None else (usage.second_limit, usage.second_used)
    return {"x-ratelimit-limit": str(limit), "x-ratelimit-remaining": str(max(0, limit - used)), "x-ratelimit-reset": "1"}


def _decimals(product: str, coin: ReplayedCoin, view: View) -> int:
    return VENUES["coinbase"].price_decimals(product, view.market.price_decimals(coin))


def _row(product: str, quote: Quote, view: View) -> dict[str, Any]:
    day = view.market.last_24h(view.price_view, quote.coin, quote.stamp_ms - view.stamp_shift_ms)
    digits, base = _decimals(product, quote.coin, view), product.removesuffix("-USD")
    now, before = round(quote.price, digits), round(day.open, digits)
    if view.shape == "exchange_ticker":
        size, tick = fixed(day.coins / day.trades, _LOT_DECIMALS), 10.0**-digits
        ask, bid = fixed(now + tick, digits), fixed(now - tick, digits)
        stamp = {"trade_id": quote.stamp_ms, "time": iso_ms(quote.stamp_ms)}
        return {"ask": ask, "bid": bid, "volume": fixed(day.coins, _LOT_DECIMALS), "price": price_text(quote, now, digits), "size": size, **stamp}
    return {
        "product_id": product + quote.renamed,
        "price": price_text(quote, now, digits),
        "price_percentage_change_24h": fixed((now / before - 1) * 100, 14),
        "volume_24h": fixed(day.coins, _LOT_DECIMALS),
        "volume_percentage_change_24h": fixed((quote.volume_24h / quote.volume_previous_24h - 1) * 100, 14),
        "base_increment": fixed(10.0**-_LOT_DECIMALS, _LOT_DECIMALS),
        "quote_increment": fixed(10.0**-digits, digits),
        "quote_min_size": "1",
        "quote_max_size": "150000000",
        "base_min_size": fixed(10.0**-_LOT_DECIMALS, _LOT_DECIMALS),
        "base_max_size": "3400",
        "base_name": quote.coin.asset.name,
        "quote_name": "US Dollar",
        "watched": False,
        "is_disabled": False,
        "new": False,
        "status": "online",
        "cancel_only": False,
        "limit_only": False,
        "post_only": False,
        "trading_disabled": False,
        "auction_mode": False,
        "product_type": "SPOT",
        "quote_currency_id": "USD",
        "base_currency_id": base,
        "fcm_trading_session_details": None,
        "mid_market_price": "",
        "alias": "",
        "alias_to": [base + "-USDC"],
        "base_display_symbol": base,
        "quote_display_symbol": "USD",
        "view_only": False,
        "price_increment": fixed(10.0**-digits, digits),
        "display_name": product,
        "product_venue": "CBE",
        "approximate_quote_24h_volume": fixed(day.coins * now, 2),
    }


def _candle(product: str, coin: ReplayedCoin, start_ms: int, step_ms: int, view: View) -> dict[str, str]:
    end_ms, digits = min(start_ms + step_ms, view.now_ms + 1), _decimals(product, coin, view)
    made = view.trades.candle("coinbase", product, start_ms, end_ms, view.now_ms)
    if made is not None:
        shown = {name: text(getattr(made, name), digits) for name in ("low", "high", "open", "close")}
        return {"start": str(start_ms // 1000), **shown, "volume": text(made.size, _LOT_DECIMALS)}
    part = view.market.candle(view.price_view, coin, start_ms, end_ms)
    prices = {name: fixed(getattr(part, name), digits) for name in ("low", "high", "open", "close")}
    return {"start": str(start_ms // 1000), **prices, "volume": fixed(part.coins, _LOT_DECIMALS)}
