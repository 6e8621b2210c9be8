"""CoinMarketCap: `quotes/latest` and `listings/latest` in versions 1, 2 and 3, `/v1/cryptocurrency/map`, `/v1/key/info`; keyed, or keyless under
`/public-api`.

Shapes and errors as documented at coinmarketcap.com/api and as seen in recorded bodies. Any key but `invalid` is accepted. Only USD is quoted.
Ranks count only the replayed coins. Prices deviate a few basis points from CoinGecko's and are a second older.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from math import ceil
from typing import Any

from cryptoviz.times import epoch_ms, iso_ms, utc
from market.coins import ReplayedCoin
from market.dialects.base import Answer, Dialect, Request, View, finish_row, ranks_by, served_price, whole_number
from market.dialects.coinmarketcap_map import BadMap, map_rows
from market.quotes import PriceView, Quote

__all__ = ["CoinMarketCap"]

_KEY_HEADER = "x-cmc_pro_api_key"
_PATH = re.compile(r"(?P<keyless>/public-api)?/(?P<version>v[123])/cryptocurrency/(?P<call>quotes|listings)/latest")
_MAP_PATHS = ("/v1/cryptocurrency/map", "/public-api/v1/cryptocurrency/map")
_USD_ID = 2781
_COINS_PER_CREDIT = 100
_DEFAULT_CODES = {401: 1001, 402: 1003, 403: 1006, 429: 1008}
_MESSAGES = {
    400: "Bad Request",
    1001: "This API Key is invalid.",
    1002: "API key missing.",
    1003: "Your API Key must be activated. Please go to pro.coinmarketcap.com/account/plan.",
    1004: "Your API Key's subscription plan has expired.",
    1005: "An API Key is required for this call.",
    1006: "Your API Key subscription plan doesn't support this endpoint.",
    1007: "This API Key has been disabled. Please contact support.",
    1008: "You've exceeded your API Key's HTTP request rate limit. Rate limits reset every minute.",
    1009: "You've exceeded your API Key's daily rate limit.",
    1010: "You've exceeded your API Key's monthly rate limit.",
    1011: "You've hit an IP rate limit.",
    500: "An internal server error occurred",
}
_SELECTORS: dict[str, Callable[[ReplayedCoin], str]] = {
    "id": lambda coin: coin.provider_id("coinmarketcap"),
    "slug": lambda coin: coin.coinmarketcap.slug,
    "symbol": lambda coin: coin.asset.symbol.lower(),
}


class CoinMarketCap(Dialect):
    """CoinMarketCap's dialect."""

    name = "coinmarketcap"
    price_view = PriceView("coinmarketcap", spread_bps=6.0, lag_ms=1000)
    shapes: tuple[str, ...] = ("v1", "v2", "v3", "v3_object")
    price_key = "price"

    def answer(self, request: Request, view: View) -> Answer:
        found = _PATH.fullmatch(request.path)
        keyless = request.path.startswith("/public-api/")
        if found is None and request.path not in ("/v1/key/info", *_MAP_PATHS):
            if keyless:  # the keyless API returns an error with status 200 for an unknown path
                return Answer(200, {"status": _status(view, 500, _MESSAGES[500])}, request.path)
            return Answer(404, {"statusCode": 404, "error": "Not Found", "message": "Not Found"}, request.path)
        if not keyless and (refused := self._refused(request, view)):
            return refused
        if found is None:
            return _map(request, view) if request.path in _MAP_PATHS else _key_info(request, view)
        if found["call"] == "listings":
            return _listings(request, view, found["version"])
        return _quotes(request, view, found["version"], keyless=keyless)

    def error(self, request: Request, status: int, view: View, code: int | None = None, retry_after_s: int | None = None) -> Answer:
        """The envelope with its status, without data."""
        keyless_limit = status == 429 and request.path.startswith("/public-api/")
        code = code or (1011 if keyless_limit else _DEFAULT_CODES.get(status, status))
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        return Answer(status, {"status": _status(view, code, _MESSAGES.get(code, "Error"))}, request.path, headers=headers)

    def limited(self, request: Request, view: View, *, month: bool) -> Answer:
        """429 with 1008 (minute), 1010 (month) or, keyless, 1011; without Retry-After."""
        return self.error(request, 429, view, code=1010 if month else None)

    def _refused(self, request: Request, view: View) -> Answer | None:
        key = request.headers.get(_KEY_HEADER) or request.query.get("CMC_PRO_API_KEY")
        if not key:
            return self.error(request, 401, view, code=1002)
        return self.error(request, 401, view, code=1001) if key == "invalid" else None


def _status(view: View, code: int | str, message: str | None, credit_count: int = 0) -> dict[str, Any]:
    return {
        "timestamp": iso_ms(view.now_ms + view.stamp_shift_ms),
        "error_code": code,
        "error_message": message,
        "elapsed": 10,
        "credit_count": credit_count,
        "notice": None,
    }


def _bad(request: Request, view: View, message: str) -> Answer:
    return Answer(400, {"status": _status(view, 400, message)}, request.path)


def _success(request: Request, view: View, version: str, data: Any, prices: dict[str, object], **status: int) -> Answer:
    credit = max(1, ceil(len(prices) / _COINS_PER_CREDIT))
    envelope = _status(view, "0" if version.startswith("v3") else 0, None if version != "v3" else "", credit)
    return Answer(200, {"status": envelope | status, "data": data}, request.path, prices, credits=credit)


def _converts_to_usd(request: Request) -> bool:
    query = request.query
    return query.get("convert", "USD").upper() == "USD" and query.get("convert_id", str(_USD_ID)) == str(_USD_ID)


def _quotes(request: Request, view: View, path_version: str, *, keyless: bool) -> Answer:
    query = request.query
    selector = next((name for name in _SELECTORS if query.get(name)), None)
    if selector is None:
        return _bad(request, view, '"value" must contain at least one of [id, symbol, slug]')
    if not _converts_to_usd(request):
        return _bad(request, view, f'Invalid value for "convert": "{query.get("convert") or query.get("convert_id")}"')
    wanted = list(dict.fromkeys(part.strip().lower() for part in query[selector].split(",") if part.strip()))
    key = _SELECTORS[selector]
    known = {key(quote.coin): quote for quote in view.quotes}
    listed = {key(coin) for coin in view.market.coins}  # including coins omitted by a fault
    invalid = [part for part in wanted if part not in listed]
    if invalid and not keyless and query.get("skip_invalid", "false").lower() != "true":
        return _bad(request, view, f'Invalid value{"s" if len(invalid) > 1 else ""} for "{selector}": "{",".join(invalid)}"')
    version = view.shape or path_version
    ranks = ranks_by(view, _cap)
    rows = [(part, finish_row(_coin(known[part], ranks, version), known[part])) for part in wanted if part in known]
    prices = {str(row["id"]): _price_in(row) for _, row in rows}
    return _success(request, view, version, _arranged(rows, selector, version), prices)


def _arranged(rows: list[tuple[str, dict[str, Any]]], selector: str, version: str) -> Any:
    """v3 returns a list; v1 and v2 key by id or, if requested, by symbol, where v2 has lists because symbols are not unique."""
    if version.startswith("v3"):
        return [row for _, row in rows]
    if selector == "symbol":
        return {row["symbol"]: [row] if version == "v2" else row for _, row in rows}
    return {str(row["id"]): row for _, row in rows}


def _listings(request: Request, view: View, path_version: str) -> Answer:
    query = request.query
    start, limit = whole_number(query.get("start", "1")), whole_number(query.get("limit", "100"))
    if not start:
        return _bad(request, view, '"start" must be a positive integer')
    if limit is None or not 1 <= limit <= 5000:
        return _bad(request, view, '"limit" must be between 1 and 5000')
    if not _converts_to_usd(request):
        return _bad(request, view, f'Invalid value for "convert": "{query.get("convert") or query.get("convert_id")}"')
    version = view.shape or path_version
    ranks = ranks_by(view, _cap)
    ordered = sorted(view.quotes, key=lambda quote: ranks[quote.coin.asset.asset_id])
    page = ordered[start - 1 : start - 1 + limit]
    rows = [finish_row(_coin(quote, ranks, version), quote) for quote in page]
    return _success(request, view, version, rows, {str(row["id"]): _price_in(row) for row in rows}, total_count=len(ordered))


def _map(request: Request, view: View) -> Answer:
    try:
        rows = map_rows(request, view, ranks_by(view, _cap))
    except BadMap as problem:
        return _bad(request, view, str(problem))
    envelope = _status(view, "0" if request.path.startswith("/public-api") else 0, None, 1)
    return Answer(200, {"status": envelope, "data": rows}, request.path, credits=1)


def _cap(quote: Quote) -> float:
    return quote.price * (quote.coin.coinmarketcap.circulating or 0)


def _price_in(row: dict[str, Any]) -> object:
    quote = row["quote"]
    return quote[0]["price"] if isinstance(quote, list) else quote["USD"]["price"]


def _coin(quote: Quote, ranks: dict[str, int], version: str) -> dict[str, Any]:
    coin, facts = quote.coin, quote.coin.coinmarketcap
    coin_id = coin.provider_id("coinmarketcap") + quote.renamed
    number, usd = whole_number(coin_id), _usd(quote)
    return {
        "id": coin_id if number is None else number,
        "name": coin.asset.name,
        "symbol": coin.asset.symbol,
        "slug": facts.slug + quote.renamed,
        "num_market_pairs": facts.market_pairs,
        "date_added": facts.date_added,
        "tags": [],
        "max_supply": facts.max,
        "circulating_supply": facts.circulating,
        "total_supply": facts.total,
        "is_active": 1,
        "infinite_supply": facts.max is None,
        "platform": _platform(facts.token_address),
        "cmc_rank": ranks[coin.asset.asset_id],
        "is_fiat": 0,
        "self_reported_circulating_supply": None,
        "self_reported_market_cap": None,
        "tvl_ratio": None,
        "last_updated": iso_ms(quote.stamp_ms),
        "quote": [{"id": _USD_ID, "symbol": "USD", **usd}] if version == "v3" else {"USD": usd},
    }


def _platform(token_address: str | None) -> dict[str, Any] | None:
    if token_address is None:
        return None
    return {"id": 1027, "name": "Ethereum", "symbol": "ETH", "slug": "ethereum", "token_address": token_address}


def _usd(quote: Quote) -> dict[str, Any]:
    facts = quote.coin.coinmarketcap
    diluted = facts.max or facts.total or facts.circulating
    return {
        "price": served_price(quote, quote.price),
        "volume_24h": quote.volume_24h,
        "volume_change_24h": round((quote.volume_24h / quote.volume_previous_24h - 1) * 100, 4),
        "percent_change_1h": round(quote.change_1h_pct, 8),
        "percent_change_24h": round(quote.change_24h_pct, 8),
        "percent_change_7d": round(quote.change_7d_pct, 8),
        # longer than the recording: null
        "percent_change_30d": None,
        "percent_change_60d": None,
        "percent_change_90d": None,
        "market_cap": _cap(quote) if facts.circulating is not None else None,
        "market_cap_dominance": None,  # needs the total market cap, which the replay does not have
        "fully_diluted_market_cap": None if diluted is None else round(quote.price * diluted, 2),
        "tvl": None,
        "last_updated": iso_ms(quote.stamp_ms),
    }


def _key_info(request: Request, view: View) -> Answer:
    usage, now = view.usage, utc(view.now_ms)
    reset = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
    left = max(0, usage.month_limit - usage.month_used)
    data = {
        "plan": {
            "credit_limit_monthly": usage.month_limit,
            "credit_limit_monthly_reset": f"In {(reset - now).days} days",
            "credit_limit_monthly_reset_timestamp": iso_ms(epoch_ms(reset)),
            "rate_limit_minute": usage.minute_limit,
        },
        "usage": {
            "current_minute": {"requests_made": usage.minute_used, "requests_left": max(0, usage.minute_limit - usage.minute_used)},
            "current_day": {"credits_used": usage.month_used, "credits_left": left},
            "current_month": {"credits_used": usage.month_used, "credits_left": left},
        },
    }
    return Answer(200, {"status": _status(view, 0, None), "data": data}, request.path)
