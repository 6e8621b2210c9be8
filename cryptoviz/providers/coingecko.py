"""CoinGecko, `GET /coins/markets`.

Sources: https://docs.coingecko.com/reference/coins-markets (fields, hosts, headers), https://docs.coingecko.com/reference/common-errors-rate-limit
(codes). Facts from recorded bodies: numbers are integers, floats and exponents, mixed; `current_price`, ranks and supplies can be
null; an unknown market cap or supply is often 0.0; a response with HTTP 200 can contain the body of a 429, an object instead of an array.
`GET /coins/list` (https://docs.coingecko.com/reference/coins-list) is one call without pages for all active coins: about 20 000, 1.5 MB.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar
from urllib.parse import quote

from cryptoviz.errors import NoHistory, ProviderFailure
from cryptoviz.providers.account import Account, AccountCall, account_object, count
from cryptoviz.providers.asset import Asset
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.failures import bad_payload, failure, is_final_status, reason_of, status_failure
from cryptoviz.providers.history import MINUTE_MS, HistorySource, Point, Step, Window
from cryptoviz.providers.listing_status import AskList
from cryptoviz.providers.parse_result import Parsed, gather, require_rows
from cryptoviz.providers.plan import Plan, one_call_for_each
from cryptoviz.providers.response import HttpResponse, decode_response
from cryptoviz.providers.schema_drift import Shape
from cryptoviz.providers.spec import ProviderSpec
from cryptoviz.providers.values import count_or_none, epoch_ms, number, positive_or_none, price_of, rank_of
from cryptoviz.records import DOLLAR, FallbackReason, Observation
from cryptoviz.times import DAY_MS

__all__ = ["CoinGeckoProvider", "error_of", "parse_list", "parse_markets"]

NAME = "coingecko"
PATH = "/coins/markets"
LIST_PATH = "/coins/list"
PAGE_COINS = 250
"""The documented maximum of `per_page`."""
# Codes of the error table, beside the HTTP statuses that bodies repeat.
_CODES: dict[int, FallbackReason] = {
    1020: FallbackReason.UNAVAILABLE,  # refused by the content delivery network's firewall
    10002: FallbackReason.AUTH,  # no key, or a wrong one
    10005: FallbackReason.AUTH,  # not in this plan
    10010: FallbackReason.AUTH,  # the key's type does not fit the host
    10011: FallbackReason.AUTH,
    20000: FallbackReason.UNAVAILABLE,  # the network is blocked; does not concern the key
}


def _entries(data: Any) -> Iterable[Any]:
    return data if isinstance(data, list) else ()


def parse_key(response: HttpResponse) -> Account:
    """The body of `/key` (https://docs.coingecko.com/reference/api-usage). Raises ProviderUnavailable, ProviderRefused or BadPayload."""
    body = account_object(NAME, response)
    limit, left = count(body.get("monthly_call_credit")), count(body.get("current_remaining_monthly_calls"))
    used = count(body.get("current_total_monthly_calls"))
    if used is None and limit is not None and left is not None:
        used = max(0, limit - left)
    return Account(per_minute=count(body.get("rate_limit_request_per_minute")), per_month=limit, month_used=used)


class CoinGeckoHistory(HistorySource):
    """`GET /coins/{id}/market_chart/range`: prices, market caps and 24 h volumes at points about five minutes apart in ranges up to a day.

    https://docs.coingecko.com/reference/coins-id-market-chart-range (keyless and Demo plans reach back 365 days)
    """

    path: ClassVar[str] = "/market_chart/range"
    currency: ClassVar[str | None] = DOLLAR
    _TOO_FAR = 10012
    _LOOKBACK_MS = 2 * 5 * MINUTE_MS

    def steps(self, ticks: Sequence[int], now_ms: int, max_age_ms: int = 0) -> list[Step]:
        """See `HistorySource`. Ranges of up to a day: longer ones get hourly points."""
        del now_ms, max_age_ms
        return [Step(tuple(ticks), 5 * MINUTE_MS, DAY_MS - 1_000, self._LOOKBACK_MS)]

    def request(self, provider_id: str, window: Window, step: Step) -> tuple[str, dict[str, str]]:
        del step
        # One second more, because the end is excluded.
        query = {"vs_currency": "usd", "from": str(window.from_ms // 1000), "to": str(window.to_ms // 1000 + 1), "precision": "full"}
        return f"/coins/{quote(provider_id, safe='')}{self.path}", query

    def parse(self, response: HttpResponse, step: Step) -> list[Point]:
        """See `HistorySource`. Each of three lists holds [epoch ms, value]."""
        del step
        data = decode_response(NAME, response)
        body = data if isinstance(data, dict) else {}
        prices = body.get("prices")
        if response.status != 200 or not isinstance(prices, list):
            error = body.get("error")
            status = error.get("status") if isinstance(error, dict) else None
            if isinstance(status, dict) and status.get("error_code") == self._TOO_FAR:
                message = f"{NAME}: {str(status.get('error_message', ''))[:200]}"
                raise NoHistory(message, provider=NAME, reason=FallbackReason.MISSING_ASSET)
            raise error_of(response, data)
        caps, volumes = _by_time(body.get("market_caps")), _by_time(body.get("total_volumes"))
        points = []
        if prices and not any(True for _ in _pairs(prices)):
            raise bad_payload(NAME, "expected points of a time and a price in prices, received none")
        for at, value in _pairs(prices):
            price = price_of(value)
            if isinstance(price, float):
                points.append(Point(at, price, positive_or_none(caps.get(at)), count_or_none(volumes.get(at))))
        return sorted(points, key=lambda point: point.at_ms)


def _pairs(rows: Any) -> Iterable[tuple[int, Any]]:
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, list) and len(row) == 2 and (at := number(row[0])) is not None:
            yield int(at), row[1]


def _by_time(rows: Any) -> dict[int, Any]:
    return dict(_pairs(rows))


SPEC = ProviderSpec(
    name=NAME,
    display_name="CoinGecko",
    base_url="https://api.coingecko.com/api/v3",
    plan_base_urls={"pro": "https://pro-api.coingecko.com/api/v3"},
    # https://docs.coingecko.com/reference/common-errors-rate-limit
    # Keyless: by address, unpublished. Pro: the limits are the customer's own; settings or the account report them.
    plans={"keyless": Plan(per_minute=10), "demo": Plan(per_minute=30, per_month=10_000), "pro": Plan()},
    key_headers={"demo": "x-cg-demo-api-key", "pro": "x-cg-pro-api-key"},
    key_variable="COINGECKO_API_KEY",
    cost=one_call_for_each(PAGE_COINS),
    # Keyless limits are per IP and not published; ten calls a minute is the known safe figure.
    min_interval_s=6.0,
    asset_ids={
        "bitcoin": "bitcoin", "ethereum": "ethereum", "binancecoin": "binancecoin", "ripple": "ripple", "cardano": "cardano", "solana": "solana",
        "polkadot": "polkadot", "polygon": "polygon-ecosystem-token", "avalanche": "avalanche-2", "litecoin": "litecoin", "chainlink": "chainlink",
        "uniswap": "uniswap", "cosmos": "cosmos", "stellar": "stellar", "algorand": "algorand", "vechain": "vechain", "filecoin": "filecoin",
    },
    alias_ids={"matic": "matic-network"},
    normal_id=str.lower,
    shapes={
        PATH: Shape(
            _entries,
            used={
                "id": "s", "current_price": "n0", "last_updated": "s0", "market_cap_rank": "n0",
                **dict.fromkeys(("market_cap", "total_volume", "high_24h", "low_24h"), "n0"),
                **dict.fromkeys(("circulating_supply", "total_supply", "max_supply"), "n0"),
                **{f"price_change_percentage_{span}_in_currency": "n0" for span in ("1h", "24h", "7d")},
            },
            other={
                **dict.fromkeys(("symbol", "name"), "s"), "image": "s0?", "roi": "o0?", "sparkline_in_7d": "o0?",
                **dict.fromkeys(("fully_diluted_valuation", "price_change_24h", "price_change_percentage_24h"), "n0"),
                **dict.fromkeys(("market_cap_change_24h", "market_cap_change_percentage_24h", "ath", "ath_change_percentage"), "n0"),
                **dict.fromkeys(("atl", "atl_change_percentage"), "n0"), **dict.fromkeys(("ath_date", "atl_date"), "s0"),
                "market_cap_rank_with_rehypothecated": "n0?",
            },
        )
    },
    account=AccountCall("/key", parse_key),
    history=CoinGeckoHistory(),
)  # fmt: skip


class CoinGeckoProvider(BaseProvider):
    """Keyless, Demo key or Pro key; `providers.coingecko.plan` chooses (default: Demo with a key, else keyless)."""

    spec: ClassVar[ProviderSpec] = SPEC

    async def get_crypto_data(self, assets: Sequence[Asset]) -> list[Observation]:
        """One call for each 250 coins."""
        observations: list[Observation] = []
        for start in range(0, len(assets), PAGE_COINS):
            ids = self.ids_of(assets[start : start + PAGE_COINS])
            params = {
                "vs_currency": "usd", "ids": ",".join(ids), "per_page": str(PAGE_COINS), "price_change_percentage": "1h,24h,7d", "precision": "full",
            }  # fmt: skip
            observations += await self.fetch(PATH, params, partial(parse_markets, ids=ids))
        return observations

    async def listed(self, ids: Collection[str], ask: AskList) -> Mapping[str, str] | None:
        """One call. The list has active coins only."""
        known = await ask(LIST_PATH, {}, parse_list)
        return {coin_id: "" for coin_id in ids if coin_id in known}


def parse_markets(response: HttpResponse, ids: Mapping[str, str]) -> Parsed:
    """A body of `/coins/markets`. `ids` maps CoinGecko's ids to ours; coins that were not requested are ignored.

    Raises:
        ProviderUnavailable, ProviderRefused, BadPayload: the whole response is unusable.
    """
    data = decode_response(NAME, response)
    if response.status != 200 or not isinstance(data, list):
        raise error_of(response, data)
    require_rows(NAME, data, lambda coin: isinstance(coin.get("id"), str) and "current_price" in coin)
    coins = ((coin.get("id"), coin) for coin in data if isinstance(coin, dict))
    return gather(ids, ((coin_id, _observation(coin, ids[coin_id])) for coin_id, coin in coins if isinstance(coin_id, str) and coin_id in ids))


def parse_list(response: HttpResponse) -> frozenset[str]:
    """The ids in a body of `/coins/list`. Raises as `parse_markets`."""
    data = decode_response(NAME, response)
    if response.status != 200 or not isinstance(data, list):
        raise error_of(response, data)
    found = frozenset(coin["id"] for coin in data if isinstance(coin, dict) and isinstance(coin.get("id"), str))
    if not found:
        raise bad_payload(NAME, "the list of coins is empty")
    return found


def _observation(coin: dict[str, Any], asset_id: str) -> Observation | FallbackReason:
    price = price_of(coin.get("current_price"))
    if isinstance(price, FallbackReason):
        return price
    return Observation(
        asset_id=asset_id,
        provider=NAME,
        provider_asset_id=coin["id"],
        price=price,
        source_ts=epoch_ms(coin.get("last_updated")),
        market_cap=positive_or_none(coin.get("market_cap")),
        volume_24h=count_or_none(coin.get("total_volume")),
        high_24h=positive_or_none(coin.get("high_24h")),
        low_24h=positive_or_none(coin.get("low_24h")),
        change_1h_pct=number(coin.get("price_change_percentage_1h_in_currency")),
        change_24h_pct=number(coin.get("price_change_percentage_24h_in_currency", coin.get("price_change_percentage_24h"))),
        change_7d_pct=number(coin.get("price_change_percentage_7d_in_currency")),
        circulating_supply=positive_or_none(coin.get("circulating_supply")),
        total_supply=positive_or_none(coin.get("total_supply")),
        max_supply=positive_or_none(coin.get("max_supply")),
        rank=rank_of(coin.get("market_cap_rank")),
    )


def error_of(response: HttpResponse, data: Any) -> ProviderFailure:
    """Any of the documented error bodies: `{"status":{"error_code","error_message"}}`, `{"error_code","error"}`, `{"status":500,"error"}`."""
    body = data if isinstance(data, dict) else {}
    status = body.get("status")
    inner = status if isinstance(status, dict) else body
    code = next((value for value in (inner.get("error_code"), status) if isinstance(value, int) and not isinstance(value, bool)), None)
    text = next((value for value in (inner.get("error_message"), body.get("error")) if isinstance(value, str)), "")
    if code in _CODES:
        return failure(NAME, _CODES[code], f"error {code}: {text}", response.retry_after_s)
    if response.status != 200:
        return status_failure(NAME, response.status, text, response.retry_after_s)
    if code is not None and 400 <= code < 600:
        message = f"HTTP 200 with error {code}: {text}"
        return failure(NAME, reason_of(code), message, response.retry_after_s, final=is_final_status(code))
    return bad_payload(NAME, f"expected an array of coins, received {type(data).__name__} {text}".rstrip())
