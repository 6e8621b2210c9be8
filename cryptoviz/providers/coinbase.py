"""Coinbase, `GET /api/v3/brokerage/market/products/{product_id}`: one call a coin.

Sources: https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-product (fields),
https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/rest-api (limits, errors).

- Ids are products (`BTC-USD`). The quote currency is `quote_currency_id`, and is recorded. `price`, `price_percentage_change_24h` and
  `approximate_quote_24h_volume` are text; there is no time stamp, daily range, supply or rank.
- `GET /api/v3/brokerage/market/products?product_ids=..&product_ids=..` (.../rest-api/public/list-public-products) is one call for many; it
  leaves out unknown products.
- Limits: 10 calls a second and address, then 429; the wait is sometimes given in `x-ratelimit-reset`, as
  seconds or as the epoch second at which it ends.
- Odd values: amounts can be empty text (unknown); a halted product (`trading_disabled`, `is_disabled`, a `status` other than `online`) keeps its
  last price, which is not current.
- Errors: `{"error": "NOT_FOUND", "error_details": "..", "message": ".."}`. An unknown product fails only its own call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar
from urllib.parse import quote

from cryptoviz.clock import Clock
from cryptoviz.errors import ProviderFailure
from cryptoviz.providers.asset import Asset
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.failures import REFUSALS, bad_payload, failure, retry_after_s, status_failure, unnamed
from cryptoviz.providers.fetcher import Fetcher
from cryptoviz.providers.listing_status import AskList
from cryptoviz.providers.parse_result import Parsed, gather, require_rows
from cryptoviz.providers.plan import Plan, one_call_for_each
from cryptoviz.providers.response import HttpResponse, decode_response
from cryptoviz.providers.schema_drift import Shape
from cryptoviz.providers.spec import ProviderConfig, ProviderSpec
from cryptoviz.providers.values import count_text, epoch_ms, number_text, positive_text, price_of_text
from cryptoviz.records import DOLLARS, FallbackReason, Observation

__all__ = ["CoinbaseProvider", "parse_product", "parse_products"]

NAME = "coinbase"
PATH = "/api/v3/brokerage/market/products"
LIST_PRODUCTS = 100
"""Keeps the URL below 3 kB."""
CONCURRENT_CALLS = 5
"""Half of the limit per second, so that slow responses do not add up to a burst."""


def _entries(data: Any) -> Sequence[Any]:
    return (data,)


SPEC = ProviderSpec(
    name=NAME,
    display_name="Coinbase",
    base_url="https://api.coinbase.com",
    # https://docs.cdp.coinbase.com/advanced-trade/docs/rest-api-rate-limits
    # 10 a second.
    plans={"": Plan(per_minute=600)},
    cost=one_call_for_each(1),
    min_interval_s=0.1,
    # BNB is listed since 2025, VET since 2023.
    asset_ids={
        "bitcoin": "BTC-USD", "ethereum": "ETH-USD", "binancecoin": "BNB-USD", "ripple": "XRP-USD", "cardano": "ADA-USD", "solana": "SOL-USD",
        "polkadot": "DOT-USD", "polygon": "POL-USD", "avalanche": "AVAX-USD", "litecoin": "LTC-USD", "chainlink": "LINK-USD", "uniswap": "UNI-USD",
        "cosmos": "ATOM-USD", "stellar": "XLM-USD", "algorand": "ALGO-USD", "vechain": "VET-USD", "filecoin": "FIL-USD",
    },
    alias_ids={"matic": "MATIC-USD"},
    quote="USD",
    normal_id=str.upper,
    shapes={
        PATH: Shape(
            _entries,
            used={
                "product_id": "s", "price": "s", "price_percentage_change_24h": "s", "approximate_quote_24h_volume": "s", "status": "s",
                "trading_disabled": "b", "is_disabled": "b",
            },
            other={
                **dict.fromkeys(("volume_24h", "volume_percentage_change_24h", "base_increment", "quote_increment", "price_increment"), "s"),
                **dict.fromkeys(("quote_min_size", "quote_max_size", "base_min_size", "base_max_size", "base_name", "quote_name"), "s"),
                **dict.fromkeys(("product_type", "quote_currency_id", "base_currency_id", "alias", "base_display_symbol"), "s?"),
                **dict.fromkeys(("quote_display_symbol", "display_name", "product_venue", "mid_market_price", "new_at"), "s0?"),
                **dict.fromkeys(("watched", "new", "cancel_only", "limit_only", "post_only", "auction_mode", "view_only"), "b?"),
                **dict.fromkeys(("fcm_trading_session_details", "future_product_details", "prediction_market_product_details"), "o0?"),
                **dict.fromkeys(("about_description", "icon_color", "icon_url", "market_cap"), "s0?"), "alias_to": "a?",
            },
            confirm_after=5,
        )
    },
)  # fmt: skip


class CoinbaseProvider(BaseProvider):
    """No key. Up to five concurrent calls within one deadline; prices that arrive before it are kept."""

    spec: ClassVar[ProviderSpec] = SPEC

    def __init__(self, settings: ProviderConfig, fetcher: Fetcher, clock: Clock) -> None:
        super().__init__(settings, fetcher, clock)
        self._quiet: tuple[ProviderFailure, float] | None = None

    def memory(self) -> Any:
        """The refusal of the previous tick, because of which no call is made."""
        refusal = self._refusal()
        return None if refusal is None else str(refusal.reason)

    def recall(self, memory: Any) -> None:
        self._quiet = None if memory is None else (failure(NAME, FallbackReason(memory), "as recorded"), self._clock.monotonic_s())

    async def get_crypto_data(self, assets: Sequence[Asset]) -> list[Observation]:
        """All coins within the deadline of one attempt. A coin that fails has its own reason; if all fail, the first failure is that of the poll."""
        self._respect_refusal()
        ids = self.ids_of(assets)
        observations: list[Observation] = []
        errors: dict[str, ProviderFailure] = {}
        turns = asyncio.Semaphore(CONCURRENT_CALLS)

        async def ask(product: str, asset_id: str) -> None:
            async with turns:
                if any(error.reason in REFUSALS for error in errors.values()):
                    return
                path = f"{PATH}/{quote(product, safe='')}"
                try:
                    observations.extend(await self.fetch(path, {}, partial(parse_product, ids={product: asset_id})))
                except ProviderFailure as error:
                    errors[asset_id] = error

        try:
            async with asyncio.timeout(self._fetcher.timeout_s), asyncio.TaskGroup() as group:
                for product, asset_id in ids.items():
                    group.create_task(ask(product, asset_id))
        except TimeoutError:
            late = failure(NAME, FallbackReason.TIMEOUT, f"not all coins have answered within {self._fetcher.timeout_s:g} s")
            errors |= {asset_id: late for asset_id in ids.values() if asset_id not in errors}
        return self._settle(ids, observations, errors)

    async def listed(self, ids: Collection[str], ask: AskList) -> Mapping[str, str] | None:
        """One call for each 100 products."""
        wanted, found = list(ids), dict[str, str]()
        for start in range(0, len(wanted), LIST_PRODUCTS):
            query = "&".join(f"product_ids={quote(product, safe='')}" for product in wanted[start : start + LIST_PRODUCTS])
            found |= await ask(f"{PATH}?{query}", {}, parse_products)
        return found

    def _settle(self, ids: Mapping[str, str], observations: list[Observation], errors: dict[str, ProviderFailure]) -> list[Observation]:
        refusal = next((error for error in errors.values() if error.reason in REFUSALS), None)
        first = refusal or next(iter(errors.values()), None)
        if first is None:
            return observations
        if not observations:
            raise first
        if refusal is not None:
            # These prices count; the next tick reports the refusal and its wait, without a call.
            self._quiet = (refusal, self._clock.monotonic_s())
        found, failures = {observation.asset_id for observation in observations}, self.current_poll.asset_failures
        for asset_id in ids.values():
            if asset_id not in found and asset_id not in failures:
                failures[asset_id] = errors.get(asset_id, first).reason
        return observations

    def _respect_refusal(self) -> None:
        refusal, self._quiet = self._refusal(), None
        if refusal is not None:
            raise refusal

    def _refusal(self) -> ProviderFailure | None:
        if self._quiet is None:
            return None
        error, since_s = self._quiet
        asked_s = error.retry_after_s
        left_s = None if asked_s is None else asked_s - (self._clock.monotonic_s() - since_s)
        if left_s is not None and left_s <= 0:
            return None
        return failure(NAME, error.reason, f"refused in the tick before: {unnamed(NAME, error.message)}", left_s)


def parse_product(response: HttpResponse, ids: Mapping[str, str]) -> Parsed:
    """A body of `/market/products/{id}`. `ids` contains the requested product, with our asset id.

    Raises:
        ProviderUnavailable, ProviderRefused, BadPayload: the response is unusable.
    """
    data = decode_response(NAME, response)
    ((product, asset_id),) = ids.items()
    if response.status == 404 and isinstance(data, dict):
        return gather(ids, ())
    if response.status != 200:
        raise status_failure(NAME, response.status, _text(data), _wait_s(response))
    if not isinstance(data, dict) or "price" not in data:
        raise bad_payload(NAME, f"expected a product, received {type(data).__name__} {_text(data)}".rstrip())
    return gather(ids, [(product, _observation(data, product, asset_id))])


def _observation(data: dict[str, Any], product: str, asset_id: str) -> Observation | FallbackReason:
    if data.get("product_id", product) != product:
        return FallbackReason.BAD_PAYLOAD
    # A body of another version does not contain it; then the asset table decides.
    quoted = data.get("quote_currency_id", SPEC.quote_of(product))
    if not isinstance(quoted, str) or quoted not in DOLLARS:
        return FallbackReason.MISSING_ASSET
    if _halted(data):
        return FallbackReason.MISSING_ASSET
    price = price_of_text(data["price"])
    if isinstance(price, FallbackReason):
        return price
    return Observation(
        asset_id=asset_id,
        provider=NAME,
        provider_asset_id=product,
        price=price,
        quote_currency=quoted,
        source_ts=epoch_ms(data.get("time")),
        market_cap=positive_text(data.get("market_cap")),
        volume_24h=count_text(data.get("approximate_quote_24h_volume")),
        change_24h_pct=number_text(data.get("price_percentage_change_24h")),
    )


def parse_products(response: HttpResponse) -> dict[str, str]:
    """Products in a body of `/market/products`, each with the reason why it is not traded now, empty if it is traded. Raises as `parse_product`."""
    data = decode_response(NAME, response)
    rows = data.get("products") if isinstance(data, dict) else None
    if response.status != 200:
        raise status_failure(NAME, response.status, _text(data), _wait_s(response))
    if not isinstance(rows, list):
        raise bad_payload(NAME, f"expected products, received {type(data).__name__} {_text(data)}".rstrip())
    require_rows(NAME, rows, lambda row: isinstance(row.get("product_id"), str))
    return {row["product_id"]: _halted(row) for row in rows if isinstance(row, dict) and isinstance(row.get("product_id"), str)}


def _halted(product: dict[str, Any]) -> str:
    """Why a product is not traded; empty if it is traded."""
    status = product.get("status")
    if status not in (None, "", "online"):
        return str(status)[:20]
    return "disabled" if product.get("trading_disabled") is True or product.get("is_disabled") is True else ""


def _text(data: Any) -> str:
    parts = [data.get("error"), data.get("message")] if isinstance(data, dict) else []
    return " ".join(part for part in parts if isinstance(part, str))


def _wait_s(response: HttpResponse) -> float | None:
    """`Retry-After`, else `x-ratelimit-reset` after a 429, in the same forms."""
    if response.retry_after_s is not None or response.status != 429:
        return response.retry_after_s
    reset = response.headers.get("x-ratelimit-reset", "")
    return retry_after_s({"retry-after": reset}, response.received_ms)
