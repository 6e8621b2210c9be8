"""CoinPaprika, `GET /v1/tickers` (all coins in one call) or `/v1/tickers/{id}`.

Sources: https://docs.coinpaprika.com/api-reference/tickers/get-tickers-for-all-active-coins (fields),
https://docs.coinpaprika.com/api-plans (limits).

- Limits: 20 000 calls a month without a key, then 402. One call returns all coins and costs the same as a call for one coin: the body is long
  (about 2 MB), and only the requested coins are recorded. With a key (`plan` `pro`) there is a separate host.
- `/v1/tickers` is the list of all active coins: `/v1/coins` would cost one of the month's calls and contain no more about an id, so it is not used.
- Odd values: since 2024 there is no `circulating_supply`; `max_supply`, `total_supply`, `market_cap` and `rank` of 0 mean unknown.
- Errors: `{"error": "id not found"}`, also instead of an array.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar
from urllib.parse import quote

from cryptoviz.errors import ProviderFailure
from cryptoviz.providers.asset import Asset
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.failures import bad_payload, failure, status_failure, until_reset_s
from cryptoviz.providers.parse_result import Parsed, gather, require_rows
from cryptoviz.providers.plan import Plan
from cryptoviz.providers.response import HttpResponse, decode_response
from cryptoviz.providers.schema_drift import Shape
from cryptoviz.providers.spec import ProviderSpec
from cryptoviz.providers.values import count_or_none, epoch_ms, number, positive_or_none, price_of, rank_of
from cryptoviz.records import FallbackReason, Observation

__all__ = ["CoinPaprikaProvider", "parse_tickers"]

NAME = "coinpaprika"
PATH = "/v1/tickers"


def _entries(data: Any) -> Iterable[Any]:
    return data if isinstance(data, list) else (data,)


SPEC = ProviderSpec(
    name=NAME,
    display_name="CoinPaprika",
    base_url="https://api.coinpaprika.com",
    plan_base_urls={"pro": "https://api-pro.coinpaprika.com"},
    # https://api.coinpaprika.com/#section/Rate-limit
    # Pro: the limits are the customer's own; settings name them.
    plans={"free": Plan(per_month=20_000), "pro": Plan()},
    key_headers={"pro": "Authorization"},
    # 10 calls a second and address are documented; at most one per tick is needed.
    min_interval_s=1.0,
    asset_ids={
        "bitcoin": "btc-bitcoin", "ethereum": "eth-ethereum", "binancecoin": "bnb-binance-coin", "ripple": "xrp-xrp", "cardano": "ada-cardano",
        "solana": "sol-solana", "polkadot": "dot-polkadot", "polygon": "pol-polygon-ecosystem-token", "avalanche": "avax-avalanche",
        "litecoin": "ltc-litecoin", "chainlink": "link-chainlink", "uniswap": "uni-uniswap", "cosmos": "atom-cosmos", "stellar": "xlm-stellar",
        "algorand": "algo-algorand", "vechain": "vet-vechain", "filecoin": "fil-filecoin",
    },
    normal_id=str.lower,
    shapes={
        PATH: Shape(
            _entries,
            used={
                "id": "s", "last_updated": "s", "rank": "n", "total_supply": "n0", "max_supply": "n0", "circulating_supply": "n0?",
                **{f"quotes.USD.{name}": "n0" for name in ("price", "volume_24h", "market_cap")},
                **{f"quotes.USD.percent_change_{span}": "n0" for span in ("1h", "24h", "7d")},
            },
            other={
                "name": "s", "symbol": "s", "beta_value": "n0", "first_data_at": "s0",
                **{f"quotes.USD.percent_change_{span}": "n0" for span in ("15m", "30m", "6h", "12h", "30d", "1y")},
                **{f"quotes.USD.{name}": "n0" for name in ("volume_24h_change_24h", "market_cap_change_24h", "ath_price", "percent_from_price_ath")},
                "quotes.USD.ath_date": "s0",
            },
        )
    },
)  # fmt: skip


class CoinPaprikaProvider(BaseProvider):
    """Free without a key, or `pro` with one; `providers.coinpaprika.plan` chooses (default: pro with a key)."""

    spec: ClassVar[ProviderSpec] = SPEC

    async def get_crypto_data(self, assets: Sequence[Asset]) -> list[Observation]:
        """One call: for all coins, or for a single coin."""
        ids = self.ids_of(assets)
        if not ids:
            return []
        path = f"{PATH}/{quote(next(iter(ids)), safe='')}" if len(ids) == 1 else PATH
        return await self.fetch(path, {}, partial(parse_tickers, ids=ids), partial(_shorten, ids=ids))


def parse_tickers(response: HttpResponse, ids: Mapping[str, str]) -> Parsed:
    """A body of `/v1/tickers` or `/v1/tickers/{id}`. `ids` maps CoinPaprika's ids to ours; coins that were not requested are ignored.

    Raises:
        ProviderUnavailable, ProviderRefused, BadPayload: the whole response is unusable.
    """
    data = decode_response(NAME, response)
    if response.status == 404 and len(ids) == 1 and isinstance(data, dict):
        return gather(ids, ())  # "id not found", of the only coin
    is_coin = isinstance(data, dict) and "id" in data
    if response.status != 200 or not (isinstance(data, list) or is_coin):
        raise _error(response, data)
    require_rows(NAME, data if isinstance(data, list) else [data], lambda coin: isinstance(coin.get("id"), str) and "quotes" in coin)
    return gather(ids, ((coin_id, _observation(coin, ids[coin_id])) for coin_id, coin in _asked(data, ids)))


def _asked(data: Any, ids: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for coin in data if isinstance(data, list) else [data]:
        coin_id = coin.get("id") if isinstance(coin, dict) else None
        if isinstance(coin_id, str) and coin_id in ids:
            yield coin_id, coin


def _shorten(data: Any, ids: Mapping[str, str]) -> list[Any]:
    return [coin for _, coin in _asked(data, ids)]


def _observation(coin: dict[str, Any], asset_id: str) -> Observation | FallbackReason:
    quotes = coin.get("quotes")
    usd = quotes.get("USD") if isinstance(quotes, dict) else None
    if not isinstance(usd, dict):
        return FallbackReason.MISSING_ASSET
    price = price_of(usd.get("price"))
    if isinstance(price, FallbackReason):
        return price
    return Observation(
        asset_id=asset_id,
        provider=NAME,
        provider_asset_id=coin["id"],
        price=price,
        source_ts=epoch_ms(coin.get("last_updated")),
        market_cap=positive_or_none(usd.get("market_cap")),
        volume_24h=count_or_none(usd.get("volume_24h")),
        change_1h_pct=number(usd.get("percent_change_1h")),
        change_24h_pct=number(usd.get("percent_change_24h")),
        change_7d_pct=number(usd.get("percent_change_7d")),
        circulating_supply=positive_or_none(coin.get("circulating_supply")),
        total_supply=positive_or_none(coin.get("total_supply")),
        max_supply=positive_or_none(coin.get("max_supply")),
        rank=rank_of(coin.get("rank")),
    )


def _error(response: HttpResponse, data: Any) -> ProviderFailure:
    text = data.get("error") if isinstance(data, dict) else None
    text = text if isinstance(text, str) else ""
    if response.status == 402:
        # The monthly limit; the day of its reset is not documented, the first of the month is likely.
        wait_s = response.retry_after_s
        return failure(NAME, FallbackReason.QUOTA, f"HTTP 402: {text}", until_reset_s(response.received_ms, month=True) if wait_s is None else wait_s)
    if response.status != 200:
        return status_failure(NAME, response.status, text, response.retry_after_s)
    return bad_payload(NAME, f"expected an array of coins, received {type(data).__name__} {text}".rstrip())
