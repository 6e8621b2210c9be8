"""CoinPaprika API v1: `/v1/tickers`, `/v1/tickers/{id}`, `/v1/coins`.

Shapes and errors as documented at docs.coinpaprika.com and as seen in recorded bodies of 2024 and later, which have no `circulating_supply`. Unknown
values are 0: an unlimited maximum supply, and changes over more days than the recording has.
"""

from __future__ import annotations

import re
from typing import Any

from cryptoviz.times import iso_ms
from market.coins import ReplayedCoin
from market.dialects.base import Answer, Dialect, Request, View, finish_row, listed, listed_coins, ranks_by, served_price
from market.quotes import PriceView, Quote

__all__ = ["CoinPaprika"]

_TICKER = re.compile(r"/v1/tickers/(?P<id>[^/]+)")
_MINUTE_MS = 60_000
_WINDOWS_MIN = {"15m": 15, "30m": 30, "1h": 60, "6h": 360, "12h": 720, "24h": 1_440, "7d": 10_080}
_LONGER_WINDOWS = ("30d", "1y")
_MESSAGES = {
    400: "bad request",
    401: "unauthorized",
    402: "payment required: the monthly limit of the free plan is used up",
    403: "forbidden",
    404: "id not found",
    429: "too many requests",
    500: "internal server error",
    503: "service unavailable",
}
_FIRST_DATA = "2017-01-01T00:00:00Z"
"""Default where CoinMarketCap's `date_added` is unknown too."""


class CoinPaprika(Dialect):
    """CoinPaprika's dialect. Prices deviate up to 8 basis points from the recorded ones and are two seconds old."""

    name = "coinpaprika"
    price_view = PriceView("coinpaprika", spread_bps=8.0, lag_ms=2000)
    shapes: tuple[str, ...] = ("circulating_supply",)
    price_key = "price"

    def answer(self, request: Request, view: View) -> Answer:
        if request.path == "/v1/tickers":
            return self._tickers(request, view)
        if request.path == "/v1/coins":
            ranks = ranks_by(view, _cap)
            rows = [_coin(coin_id, coin, ranks.get(coin.asset.asset_id, 0)) for coin_id, coin in listed_coins(view).items()]
            return Answer(200, rows, request.path, credits=1)
        if found := _TICKER.fullmatch(request.path):
            return self._ticker(request, view, found["id"])
        return Answer(404, {"error": "not found"}, request.path)

    def error(self, request: Request, status: int, view: View, code: int | None = None, retry_after_s: int | None = None) -> Answer:
        """JSON with a text; CoinPaprika has no error codes."""
        del view, code
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        return Answer(status, {"error": _MESSAGES.get(status, "error")}, request.path, headers=headers)

    def limited(self, request: Request, view: View, *, month: bool) -> Answer:
        """402 for the month limit, 429 for the rate limit; without a wait time."""
        return self.error(request, 402 if month else 429, view)

    def _tickers(self, request: Request, view: View) -> Answer:
        if not _in_usd(request):
            return self.error(request, 400, view)
        ranks = ranks_by(view, _cap)
        rows = sorted(((ranks[quote.coin.asset.asset_id], coin_id, quote) for coin_id, quote in listed(view).items()), key=lambda item: item[0])
        bodies = [finish_row(_row(coin_id, quote, rank, view), quote) for rank, coin_id, quote in rows]
        return Answer(200, bodies, request.path, {row["id"]: row["quotes"]["USD"]["price"] for row in bodies}, credits=1)

    def _ticker(self, request: Request, view: View, coin_id: str) -> Answer:
        quote = listed(view).get(coin_id)
        endpoint = "/v1/tickers/{id}"
        if quote is None:
            return Answer(404, {"error": _MESSAGES[404]}, endpoint, credits=1)
        if not _in_usd(request):
            return self.error(request, 400, view)
        row = finish_row(_row(coin_id, quote, ranks_by(view, _cap)[quote.coin.asset.asset_id], view), quote)
        return Answer(200, row, endpoint, {row["id"]: row["quotes"]["USD"]["price"]}, credits=1)


def _in_usd(request: Request) -> bool:
    return request.query.get("quotes", "USD").upper() == "USD"


def _cap(quote: Quote) -> float:
    return quote.price * (quote.coin.coingecko.circulating or 0)


def _iso_s(epoch_ms: int) -> str:
    return iso_ms(epoch_ms)[:19] + "Z"


def _coin(coin_id: str, coin: ReplayedCoin, rank: int) -> dict[str, Any]:
    kind = "token" if coin.coinmarketcap.token_address else "coin"
    return {"id": coin_id, "name": coin.asset.name, "symbol": coin.asset.symbol, "rank": rank, "is_new": False, "is_active": True, "type": kind}


def _row(coin_id: str, quote: Quote, rank: int, view: View) -> dict[str, Any]:
    coin, facts = quote.coin, quote.coin.coingecko
    added = coin.coinmarketcap.date_added
    circulating = {"circulating_supply": round(facts.circulating or 0)} if view.shape == "circulating_supply" else {}
    return {
        "id": coin_id + quote.renamed,
        "name": coin.asset.name,
        "symbol": coin.asset.symbol,
        "rank": rank,
        **circulating,
        "total_supply": round(facts.total or 0),
        "max_supply": round(facts.max or 0),
        "beta_value": 0,
        "first_data_at": added[:19] + "Z" if added else _FIRST_DATA,
        "last_updated": _iso_s(quote.stamp_ms),
        "quotes": {"USD": _usd(quote, view)},
    }


def _usd(quote: Quote, view: View) -> dict[str, Any]:
    facts, stamp_ms = quote.coin.coingecko, quote.stamp_ms - view.stamp_shift_ms

    def change(minutes: int) -> float:
        return round(view.market.change_pct(view.price_view, quote.coin, stamp_ms, minutes * _MINUTE_MS), 2)

    return {
        "price": served_price(quote, quote.price),
        "volume_24h": quote.volume_24h,
        "volume_24h_change_24h": round((quote.volume_24h / quote.volume_previous_24h - 1) * 100, 2),
        "market_cap": round(_cap(quote)),
        "market_cap_change_24h": round(quote.change_24h_pct, 2),
        **{f"percent_change_{name}": change(minutes) for name, minutes in _WINDOWS_MIN.items()},
        **{f"percent_change_{name}": 0 for name in _LONGER_WINDOWS},
        "ath_price": facts.ath,
        "ath_date": facts.ath_date and facts.ath_date[:19] + "Z",
        "percent_from_price_ath": None if facts.ath is None else round((quote.price / facts.ath - 1) * 100, 2),
    }
