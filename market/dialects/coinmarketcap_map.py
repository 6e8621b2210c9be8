"""CoinMarketCap's `/v1/cryptocurrency/map`: the list of coins by id.

Only active coins by default (`listing_status`); `MATIC` (3890), which became POL, is inactive.
"""

from __future__ import annotations

from typing import Any

from cryptoviz.times import iso_ms
from market.coins import ReplayedCoin
from market.dialects.base import Request, View, whole_number

__all__ = ["BadMap", "map_rows"]

_MOST = 5000
_STATES = frozenset({"active", "inactive", "untracked"})
_AUX = ("platform", "first_historical_data", "last_historical_data", "is_active", "status")
_DEFAULT_AUX = ",".join(_AUX[:-1])
_RETIRED: dict[str, Any] = {"id": 3890, "rank": None, "name": "Polygon", "symbol": "MATIC", "slug": "polygon"}
_RETIRED_AUX = {
    "platform": None,
    "first_historical_data": "2019-04-28T16:00:00.000Z",
    "last_historical_data": "2024-10-15T23:55:00.000Z",
    "is_active": 0,
    "status": "inactive",
}


class BadMap(Exception):
    """Invalid parameter; the message is the provider's."""


def map_rows(request: Request, view: View, ranks: dict[str, int]) -> list[dict[str, Any]]:
    """The rows of a request. Raises BadMap."""
    query = request.query
    start, limit = whole_number(query.get("start", "1")), whole_number(query.get("limit", str(_MOST)))
    if not start:
        raise BadMap('"start" must be a positive integer')
    if limit is None or not 1 <= limit <= _MOST:
        raise BadMap(f'"limit" must be between 1 and {_MOST}')
    if query.get("sort", "id") not in ("id", "cmc_rank"):
        raise BadMap('"sort" must be one of [cmc_rank, id]')
    states, aux = query.get("listing_status", "active").split(","), query.get("aux", _DEFAULT_AUX).split(",")
    if not _STATES.issuperset(states):
        raise BadMap('"listing_status" must be one of [active, inactive, untracked]')
    if not set(_AUX).issuperset(filter(None, aux)):
        raise BadMap(f'"aux" must only include supported values: [{", ".join(_AUX)}]')
    rows = [_row(quote.coin, quote.renamed, ranks, view) for quote in view.quotes] if "active" in states else []
    rows += [_RETIRED | _RETIRED_AUX] if "inactive" in states else []
    by_rank = query.get("sort") == "cmc_rank"
    rows.sort(key=lambda row: (row["rank"] is None, row["rank"]) if by_rank else (isinstance(row["id"], str), row["id"]))
    wanted = {"id", "rank", "name", "symbol", "slug", *aux}
    return [{key: value for key, value in row.items() if key in wanted} for row in rows[start - 1 : start - 1 + limit]]


def _row(coin: ReplayedCoin, suffix: str, ranks: dict[str, int], view: View) -> dict[str, Any]:
    coin_id = coin.provider_id("coinmarketcap") + suffix
    number = whole_number(coin_id)
    return {
        "id": coin_id if number is None else number,
        "rank": ranks[coin.asset.asset_id],
        "name": coin.asset.name,
        "symbol": coin.asset.symbol,
        "slug": coin.coinmarketcap.slug + suffix,
        "platform": None,
        "first_historical_data": coin.coinmarketcap.date_added,
        "last_historical_data": iso_ms(view.now_ms),
        "is_active": 1,
        "status": "active",
    }
