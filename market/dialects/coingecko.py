"""CoinGecko API v3: `/coins/markets`, `/simple/price`, `/coins/{id}/market_chart[/range]`, `/coins/list`, `/ping`, `/key`.

Shapes and errors as documented at docs.coingecko.com and as seen in recorded bodies. Keyless, or with a Demo or Pro key in its header; the key
`invalid` is refused. Only USD is quoted. Ranks count only the replayed coins.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cryptoviz.times import iso_ms
from market.coins import ReplayedCoin
from market.dialects.base import Answer, Dialect, Request, View, finish_row, served_price, whole_number
from market.dialects.coingecko_history import history_answer
from market.quotes import PriceView, Quote

__all__ = ["CoinGecko"]

_KEY_HEADERS = ("x-cg-demo-api-key", "x-cg-pro-api-key")
_DEFAULT_PER_PAGE, _MAX_PER_PAGE = 100, 250
_RETRY_AFTER_S = 60
_PRECISIONS = frozenset({"", "full", *map(str, range(19))})
_MESSAGES = {
    429: "You've exceeded the Rate Limit. Please visit https://www.coingecko.com/en/api/pricing to subscribe to our API plans.",
    503: "Service Unavailable",
    408: "Request Timeout",
    402: "Payment Required",
    418: "I'm a teapot",
}
_CHANGES: dict[str, Callable[[Quote], float] | None] = {
    "1h": lambda quote: quote.change_1h_pct,
    "24h": lambda quote: quote.change_24h_pct,
    "7d": lambda quote: quote.change_7d_pct,
    "14d": lambda quote: quote.change_14d_pct,
    # longer than the recording: null
    "30d": None,
    "200d": None,
    "1y": None,
}
_ORDERS: dict[str, Callable[[Quote], Any]] = {
    "market_cap": lambda quote: quote.price * (quote.coin.coingecko.circulating or 0),
    "volume": lambda quote: quote.volume_24h,
    "id": lambda quote: quote.coin.provider_id("coingecko"),
}
_HISTORY = re.compile(r"/coins/(?P<id>[^/]+)/market_chart(?P<range>/range)?")


class CoinGecko(Dialect):
    """CoinGecko's dialect, at the recorded price."""

    name = "coingecko"
    price_view = PriceView("coingecko")
    shapes: tuple[str, ...] = ("wrapped", "camel_case")
    price_key = "current_price"

    def answer(self, request: Request, view: View) -> Answer:
        keys = [request.headers[name] for name in _KEY_HEADERS if name in request.headers]
        if "invalid" in keys:
            return self.error(request, 401, view)
        plain = {"/ping": self._ping, "/coins/markets": self._markets, "/coins/list": self._list, "/simple/price": self._simple, "/key": self._key}
        if request.path in plain:
            return plain[request.path](request, view)
        if found := _HISTORY.fullmatch(request.path):
            coin = _coin(view, found["id"])
            if coin is None:
                return Answer(404, {"error": "coin not found"}, "/coins/{id}/market_chart")
            return history_answer(request, view, coin, bounded=found["range"] is not None)
        return Answer(404, {"error": "Incorrect path. Please check https://www.coingecko.com/api/"}, request.path)

    def error(self, request: Request, status: int, view: View, code: int | None = None, retry_after_s: int | None = None) -> Answer:
        """CoinGecko's various error bodies."""
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        stamp = iso_ms(view.now_ms + view.stamp_shift_ms)
        body: dict[str, Any]
        if status == 500 and code is None:
            body = {"status": 500, "error": "Internal Server Error"}
        elif status == 401:
            message = "API Key Missing" if not any(name in request.headers for name in _KEY_HEADERS) else "Invalid API Key"
            body = {"status": {"timestamp": stamp, "error_code": code or 10002, "error_message": message}}
        elif status == 403:
            body = {"error_code": code or 20000, "error": "Your network has been blocked."}
        else:
            body = {"status": {"error_code": code or status, "error_message": _MESSAGES.get(status, "Error")}}
        return Answer(status, body, request.path, headers=headers)

    def limited(self, request: Request, view: View, *, month: bool) -> Answer:
        """429 with Retry-After, as on the Demo and keyless plans; without Retry-After for the month limit."""
        return self.error(request, 429, view, retry_after_s=None if month else _RETRY_AFTER_S)

    def _ping(self, request: Request, view: View) -> Answer:
        del view
        return Answer(200, {"gecko_says": "(V3) To the Moon!"}, request.path, credits=1)

    def _key(self, request: Request, view: View) -> Answer:
        if not any(request.headers.get(name) for name in _KEY_HEADERS):
            return self.error(request, 401, view)
        usage = view.usage
        body = {
            "plan": "Pro" if _KEY_HEADERS[1] in request.headers else "Demo",
            "rate_limit_request_per_minute": usage.minute_limit,
            "monthly_call_credit": usage.month_limit,
            "current_total_monthly_calls": usage.month_used,
            "current_remaining_monthly_calls": max(0, usage.month_limit - usage.month_used),
        }
        return Answer(200, body, request.path)

    def _list(self, request: Request, view: View) -> Answer:
        rows = [_identity(quote.coin, quote.renamed) for quote in view.quotes]
        return Answer(200, rows, request.path, credits=1)

    def _simple(self, request: Request, view: View) -> Answer:
        wanted = _csv(request.query.get("ids"))
        if not wanted or not request.query.get("vs_currencies"):
            return Answer(422, {"error": "Missing parameter ids or vs_currencies"}, request.path, credits=1)
        usd = "usd" in _csv(request.query["vs_currencies"])
        prices = {
            _identity(quote.coin, quote.renamed)["id"]: _price(quote, "full") for quote in view.quotes if quote.coin.provider_id(self.name) in wanted
        }
        # an unknown currency is not an error at CoinGecko: the coin has no values
        return Answer(200, {coin: {"usd": price} if usd else {} for coin, price in prices.items()}, request.path, prices if usd else {}, credits=1)

    def _markets(self, request: Request, view: View) -> Answer:
        query, path = request.query, request.path
        if not query.get("vs_currency"):
            return Answer(422, {"error": "Missing parameter vs_currency"}, path, credits=1)
        if query["vs_currency"].lower() != "usd":
            return Answer(400, {"error": "invalid vs_currency"}, path, credits=1)
        precision = query.get("precision", "")
        if precision not in _PRECISIONS:
            return Answer(400, {"error": "Invalid precision"}, path, credits=1)
        windows = _csv(query.get("price_change_percentage"))
        rows, prices = [], {}
        for rank, quote in _select(query, view):
            row = _row(quote, rank, precision)
            row |= {f"price_change_percentage_{name}_in_currency": _change(name, quote) for name in windows if name in _CHANGES}
            if query.get("sparkline") == "true":
                row["sparkline_in_7d"] = {"price": view.market.sparkline(self.price_view, quote.coin, quote.stamp_ms)}
            row = finish_row(row, quote)
            rows.append(row)
            prices[str(row["id"])] = row["current_price"]
        if "matic-network" in _csv(query.get("ids")):
            rows.append(_retired_matic(view))
        headers = {"Cache-Control": "max-age=30, public, must-revalidate, s-maxage=60", "total": str(len(view.quotes)), "per-page": str(len(rows))}
        return Answer(200, _shaped(rows, view.shape), path, prices, headers, credits=1)


def _csv(text: str | None) -> list[str]:
    return [part.strip().lower() for part in (text or "").split(",") if part.strip()]


def _coin(view: View, coin_id: str) -> ReplayedCoin | None:
    return next((coin for coin in view.market.coins if coin.provider_id("coingecko") == coin_id.lower()), None)


def _select(query: Any, view: View) -> list[tuple[int, Quote]]:
    """(rank, quote) of the requested coins, ordered and paged. Unknown ids are omitted, as at CoinGecko."""
    ranked = list(enumerate(sorted(view.quotes, key=_ORDERS["market_cap"], reverse=True), start=1))
    ids, symbols = _csv(query.get("ids")), _csv(query.get("symbols"))
    if ids:
        ranked = [item for item in ranked if item[1].coin.provider_id("coingecko") in ids]
    elif symbols:
        ranked = [item for item in ranked if item[1].coin.asset.symbol.lower() in symbols]
    field, _, direction = query.get("order", "market_cap_desc").rpartition("_")
    key = _ORDERS.get(field, _ORDERS["market_cap"])
    ranked.sort(key=lambda item: key(item[1]), reverse=direction != "asc")
    size = min(whole_number(query.get("per_page")) or _DEFAULT_PER_PAGE, _MAX_PER_PAGE)
    page = whole_number(query.get("page")) or 1
    return ranked[(page - 1) * size : page * size]


def _identity(coin: ReplayedCoin, suffix: str = "") -> dict[str, str]:
    return {"id": coin.provider_id("coingecko") + suffix, "symbol": coin.asset.symbol.lower(), "name": coin.asset.name}


def _rounded(value: float, precision: str) -> float:
    """`full`, a number of decimals, or CoinGecko's default: whole dollars from 10 000, cents from 1, six significant digits below."""
    if precision == "full":
        return value
    if precision:
        return round(value, int(precision))
    if value >= 10_000:
        return round(value)
    return round(value, 2) if value >= 1 else float(f"{value:.6g}")


def _price(quote: Quote, precision: str) -> object:
    return served_price(quote, _rounded(quote.price, precision))


def _change(window: str, quote: Quote) -> float | None:
    compute = _CHANGES[window]
    return None if compute is None else compute(quote)


def _row(quote: Quote, rank: int, precision: str) -> dict[str, Any]:
    facts, now, before = quote.coin.coingecko, quote.price, quote.price_24h_ago
    circulating = facts.circulating
    diluted = facts.max or facts.total
    return {
        **_identity(quote.coin, quote.renamed),
        "image": facts.image,
        "current_price": _price(quote, precision),
        "market_cap": None if circulating is None else round(now * circulating),
        "market_cap_rank": rank,
        "fully_diluted_valuation": None if diluted is None else round(now * diluted),
        "total_volume": round(quote.volume_24h),
        "high_24h": _rounded(quote.high_24h, precision),
        "low_24h": _rounded(quote.low_24h, precision),
        "price_change_24h": now - before,
        "price_change_percentage_24h": round(quote.change_24h_pct, 5),
        "market_cap_change_24h": None if circulating is None else (now - before) * circulating,
        "market_cap_change_percentage_24h": round(quote.change_24h_pct, 5),
        "circulating_supply": circulating,
        "total_supply": facts.total,
        "max_supply": facts.max,
        "ath": facts.ath,
        "ath_change_percentage": None if facts.ath is None else round((now / facts.ath - 1) * 100, 5),
        "ath_date": facts.ath_date,
        "atl": facts.atl,
        "atl_change_percentage": None if facts.atl is None else round((now / facts.atl - 1) * 100, 5),
        "atl_date": facts.atl_date,
        "roi": None,
        "last_updated": iso_ms(quote.stamp_ms),
    }


def _retired_matic(view: View) -> dict[str, Any]:
    """`matic-network` still exists at CoinGecko as an id without values, since MATIC became POL."""
    row: dict[str, Any] = dict.fromkeys(_row(view.quotes[0], 1, "full")) if view.quotes else {}
    return row | {"id": "matic-network", "symbol": "matic", "name": "MATIC (migrated to POL)"}


def _shaped(rows: list[dict[str, Any]], shape: str | None) -> Any:
    if shape == "wrapped":
        return {"data": rows}
    if shape == "camel_case":
        return [{re.sub(r"_(\w)", lambda found: found[1].upper(), key): value for key, value in row.items()} for row in rows]
    return rows
