"""CoinMarketCap, `GET /v3/cryptocurrency/quotes/latest`.

Sources: https://coinmarketcap.com/api/documentation/v1/ (fields, header, error codes) and its keyless prefix `/public-api`. Three shapes are read:
v1/v2 by id (`data` an object by id), v2 by symbol (`data` an object of arrays, because symbols are not unique), v3 (`data` an array, `quote` an
array or an object). `status.error_code` is a number or its text; an error can come with HTTP 200. There is no 24 h high or low.
`GET /v1/cryptocurrency/map`, also keyless, lists active coins in pages of thousands, one credit a call; `sort=cmc_rank` starts with the largest.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from cryptoviz.errors import ProviderFailure
from cryptoviz.providers.account import Account, AccountCall, account_object, count, member
from cryptoviz.providers.asset import Asset
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.failures import bad_payload, failure, is_final_status, reason_of, status_failure, until_reset_s
from cryptoviz.providers.listing_status import AskList
from cryptoviz.providers.parse_result import Parsed, gather, require_rows
from cryptoviz.providers.plan import Plan, one_call_for_each
from cryptoviz.providers.response import HttpResponse, decode_response
from cryptoviz.providers.schema_drift import Shape
from cryptoviz.providers.spec import IdFormat, ProviderSpec
from cryptoviz.providers.values import count_or_none, epoch_ms, number, positive_or_none, price_of, rank_of
from cryptoviz.records import FallbackReason, Observation

__all__ = ["CoinMarketCapProvider", "parse_map", "parse_quotes"]

NAME = "coinmarketcap"
PAGE_COINS = 100
"""One credit pays for up to 100 coins."""
PATH = "/v3/cryptocurrency/quotes/latest"
MAP_PATH = "/v1/cryptocurrency/map"
MAP_COINS = 5000
"""The documented maximum of `limit`."""
MAP_PAGES = 3
"""More than all ranked coins; a wrong id costs this number of credits."""
KEYLESS_PREFIX = "/public-api"
_USD_ID = 2781
_DAY_CODE, _MONTH_CODE = 1009, 1010
_CODES: dict[int, FallbackReason] = {
    1001: FallbackReason.AUTH,  # invalid key
    1002: FallbackReason.AUTH,  # no key
    1003: FallbackReason.AUTH,  # the plan is not paid
    1004: FallbackReason.AUTH,  # the plan has expired
    1005: FallbackReason.AUTH,  # a key is required
    1006: FallbackReason.AUTH,  # not in this plan
    1007: FallbackReason.AUTH,  # key disabled
    1008: FallbackReason.RATE_LIMITED,  # a minute's limit
    _DAY_CODE: FallbackReason.QUOTA,
    _MONTH_CODE: FallbackReason.QUOTA,
    1011: FallbackReason.RATE_LIMITED,  # the address' limit
    1022: FallbackReason.RATE_LIMITED,  # keyless burst
}


def _entries(data: Any) -> Iterator[Any]:
    """Coins with their quote in the form of v2, for every version."""
    inner = data.get("data") if isinstance(data, dict) else None
    for coin in _coins(inner) if isinstance(inner, dict | list) else ():
        yield {**coin, "quote": {"USD": _usd_quote(coin.get("quote")) or {}}}


def parse_key_info(response: HttpResponse) -> Account:
    """The body of `/v1/key/info` (https://coinmarketcap.com/api/documentation/v1/#operation/getV1KeyInfo).

    Raises:
        ProviderUnavailable, ProviderRefused, BadPayload: the response is not usable.
    """
    data = member(account_object(NAME, response), "data")
    plan, usage = member(data, "plan"), member(data, "usage")
    return Account(
        per_minute=count(plan.get("rate_limit_minute")),
        per_day=count(plan.get("credit_limit_daily")),
        per_month=count(plan.get("credit_limit_monthly")),
        day_used=count(member(usage, "current_day").get("credits_used")),
        month_used=count(member(usage, "current_month").get("credits_used")),
    )


SPEC = ProviderSpec(
    name=NAME,
    display_name="CoinMarketCap",
    base_url="https://pro-api.coinmarketcap.com",
    # https://coinmarketcap.com/api/documentation/v1/#section/Errors-and-Rate-Limits
    # Keyless: unpublished.
    plans={"keyless": Plan(per_minute=30), "keyed": Plan(per_minute=30, per_month=10_000)},
    key_headers={"keyed": "X-CMC_PRO_API_KEY"},
    key_variable="COINMARKETCAP_API_KEY",
    cost=one_call_for_each(PAGE_COINS),
    # 30 calls a minute is the smallest documented plan.
    min_interval_s=2.0,
    asset_ids={
        "bitcoin": "1", "ethereum": "1027", "binancecoin": "1839", "ripple": "52", "cardano": "2010", "solana": "5426", "polkadot": "6636",
        "polygon": "28321", "avalanche": "5805", "litecoin": "2", "chainlink": "1975", "uniswap": "7083", "cosmos": "3794", "stellar": "512",
        "algorand": "4030", "vechain": "3077", "filecoin": "2280",
    },
    alias_ids={"matic": "3890"},
    normal_id=lambda text: text.lstrip("0") or "0",
    # An id of another form fails the call for all coins.
    id_format=IdFormat(re.compile(r"[0-9]+"), "CoinMarketCap's number of the coin, such as '74'"),
    shapes={
        "/cryptocurrency/quotes/latest": Shape(
            _entries,
            used={
                "id": "n", "cmc_rank": "n0", **dict.fromkeys(("circulating_supply", "total_supply", "max_supply"), "n0"),
                **{f"quote.USD.{name}": "n0" for name in ("price", "volume_24h", "market_cap")},
                **{f"quote.USD.percent_change_{span}": "n0" for span in ("1h", "24h", "7d")}, "quote.USD.last_updated": "s0",
            },
            other={
                **dict.fromkeys(("name", "symbol", "slug"), "s"), **dict.fromkeys(("last_updated", "date_added"), "s0"),
                **dict.fromkeys(("num_market_pairs", "is_active", "is_fiat"), "nb0?"), "infinite_supply": "b0?", "tags": "a0?", "platform": "o0?",
                **dict.fromkeys(("self_reported_circulating_supply", "self_reported_market_cap", "tvl_ratio", "minted_market_cap"), "n0?"),
                **{f"quote.USD.{name}": "n0?" for name in ("volume_change_24h", "market_cap_dominance", "fully_diluted_market_cap", "tvl", "id")},
                **{f"quote.USD.percent_change_{span}": "n0?" for span in ("30d", "60d", "90d")}, "quote.USD.symbol": "s?",
                **{f"quote.USD.{name}": "n0?" for name in ("market_cap_by_total_supply", "volume_24h_reported", "volume_7d", "volume_30d")},
            },
        )
    },
    account=AccountCall("/v1/key/info", parse_key_info),
)  # fmt: skip


class CoinMarketCapProvider(BaseProvider):
    """Keyless below `/public-api`, or keyed; `providers.coinmarketcap.plan` chooses (default: keyed with a key, else keyless)."""

    spec: ClassVar[ProviderSpec] = SPEC

    async def get_crypto_data(self, assets: Sequence[Asset]) -> list[Observation]:
        """One call for each 100 coins."""
        prefix = KEYLESS_PREFIX if SPEC.plan_name(self.settings) == "keyless" else ""
        observations: list[Observation] = []
        for start in range(0, len(assets), PAGE_COINS):
            ids = self.ids_of(assets[start : start + PAGE_COINS])
            params = {"id": ",".join(ids), "convert": "USD", "skip_invalid": "true"}
            observations += await self.fetch(prefix + PATH, params, partial(parse_quotes, ids=ids))
        return observations

    async def listed(self, ids: Collection[str], ask: AskList) -> Mapping[str, str] | None:
        """One call, and further ones only for ids that are not among the first 5 000 coins."""
        prefix = KEYLESS_PREFIX if SPEC.plan_name(self.settings) == "keyless" else ""
        found: set[str] = set()
        for page in range(MAP_PAGES):
            params = {"start": str(page * MAP_COINS + 1), "limit": str(MAP_COINS), "sort": "cmc_rank", "aux": "is_active"}
            known, rows = await ask(prefix + MAP_PATH, params, parse_map)
            if not page and not known:
                raise bad_payload(NAME, "the list of coins is empty")
            found |= known.intersection(ids)
            if rows < MAP_COINS or found.issuperset(ids):
                break
        return dict.fromkeys(found, "")


def parse_quotes(response: HttpResponse, ids: Mapping[str, str]) -> Parsed:
    """A body of `quotes/latest` of any version. `ids` maps CoinMarketCap's ids (digits) to ours; other coins are ignored.

    Raises:
        ProviderUnavailable, ProviderRefused, BadPayload: the whole response is unusable.
    """
    data = _data(response, decode_response(NAME, response))
    require_rows(NAME, list(_elements(data)), lambda coin: "id" in coin and "quote" in coin)
    coins = ((coin.get("id"), coin) for coin in _coins(data))
    known = ((str(coin_id), coin) for coin_id, coin in coins if isinstance(coin_id, int | str) and not isinstance(coin_id, bool))
    return gather(ids, ((coin_id, _observation(coin, ids[coin_id])) for coin_id, coin in known if coin_id in ids))


def parse_map(response: HttpResponse) -> tuple[frozenset[str], int]:
    """The ids of active coins in a body of `/v1/cryptocurrency/map`, and how many rows it has. Raises as `parse_quotes`."""
    data = _data(response, decode_response(NAME, response))
    require_rows(NAME, list(_elements(data)), lambda coin: type(coin.get("id")) is int)
    rows = list(_coins(data))
    return frozenset(str(coin["id"]) for coin in rows if type(coin.get("id")) is int and coin.get("is_active", 1) != 0), len(rows)


def _data(response: HttpResponse, body: Any) -> dict[str, Any] | list[Any]:
    """The `data` of a good envelope; raises the error of the envelope or the status otherwise."""
    status = body.get("status") if isinstance(body, dict) else None
    envelope = status if isinstance(status, dict) else {}
    raw_code, text = envelope.get("error_code", 0), envelope.get("error_message")
    code = _code(raw_code)
    if code:
        raise _error(response, code, text if isinstance(text, str) else "")
    if response.status != 200:
        raise status_failure(NAME, response.status, text if isinstance(text, str) else "", response.retry_after_s)
    if code is None:
        raise bad_payload(NAME, f"status.error_code is {str(raw_code)[:40]!r}, expected a number")
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, dict | list):
        raise bad_payload(NAME, f"expected data, received {type(body).__name__} without it")
    return data


def _code(value: Any) -> int | None:
    """`error_code` as a number; 0 also for null. None if it is neither a number nor a number in text."""
    if value is None:
        return 0
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _error(response: HttpResponse, code: int, text: str) -> ProviderFailure:
    reason, status = _CODES.get(code), response.status if response.status != 200 else code
    is_final = reason is None and is_final_status(status)
    if reason is None:
        reason = reason_of(status)
    wait_s = response.retry_after_s
    if wait_s is None and code in (_DAY_CODE, _MONTH_CODE):
        wait_s = until_reset_s(response.received_ms, month=code == _MONTH_CODE)
    return failure(NAME, reason, f"HTTP {response.status} with error {code}: {text}", wait_s, final=is_final)


def _coins(data: dict[str, Any] | list[Any]) -> Iterator[dict[str, Any]]:
    """The coins of any shape: an array; an object of coins; an object of arrays of coins."""
    return (element for element in _elements(data) if isinstance(element, dict))


def _elements(data: dict[str, Any] | list[Any]) -> Iterator[Any]:
    for entry in data.values() if isinstance(data, dict) else data:
        # In an object of arrays, an empty array is an unknown symbol and yields no element.
        yield from entry if isinstance(entry, list) and (entry or isinstance(data, dict)) else [entry]


def _usd_quote(quote: Any) -> dict[str, Any] | None:
    if isinstance(quote, dict):
        usd = quote.get("USD")
        return usd if isinstance(usd, dict) else None
    # By CoinMarketCap's own id of the US dollar, which is unique; without an id by symbol, which is not.
    entries = [entry for entry in quote if isinstance(entry, dict)] if isinstance(quote, list) else []
    dollars = [entry for entry in entries if (entry["id"] == _USD_ID if "id" in entry else entry.get("symbol") == "USD")]
    return dollars[0] if len(dollars) == 1 else None


def _observation(coin: dict[str, Any], asset_id: str) -> Observation | FallbackReason:
    usd = _usd_quote(coin.get("quote"))
    if usd is None:
        return FallbackReason.MISSING_ASSET
    price = price_of(usd.get("price"))
    if isinstance(price, FallbackReason):
        return price
    return Observation(
        asset_id=asset_id,
        provider=NAME,
        provider_asset_id=str(coin["id"]),
        price=price,
        source_ts=epoch_ms(usd.get("last_updated")) or epoch_ms(coin.get("last_updated")),
        market_cap=positive_or_none(usd.get("market_cap")),
        volume_24h=count_or_none(usd.get("volume_24h")),
        change_1h_pct=number(usd.get("percent_change_1h")),
        change_24h_pct=number(usd.get("percent_change_24h")),
        change_7d_pct=number(usd.get("percent_change_7d")),
        circulating_supply=positive_or_none(coin.get("circulating_supply")),
        total_supply=positive_or_none(coin.get("total_supply")),
        max_supply=positive_or_none(coin.get("max_supply")),
        rank=rank_of(coin.get("cmc_rank")),
    )
