"""Kraken spot, `GET /0/public/Ticker`.

Sources: https://docs.kraken.com/api/docs/rest-api/get-ticker-information (fields), https://docs.kraken.com/exchange/guides/general/errors (errors).

- Ids are pairs in `altname` form (`XBTUSD`); the result's keys differ: `XXBTZUSD` for coins of the first years, `BTC/USD` with `assetVersion=1`.
- `v p l h` are [today, last 24 hours], `c` is [price, lot volume], `t` is integers, `o` a bare text: today's opening, so there is no 24 h
  change. `p` is the volume-weighted average price: volume x average is the turnover in the quote currency. No stamp, market cap, supply or rank.
- `GET /0/public/AssetPairs?pair=..` (https://docs.kraken.com/api/docs/rest-api/get-tradable-asset-pairs) tells the `status` of pairs: online, or
  cancel_only, post_only, limit_only, reduce_only. One unknown pair fails it as well.
- Limits: not published; a call a second is known to be safe. Errors stand in `error`, also with HTTP 200; those that begin with W are warnings.
- Odd values: over a hundred pairs have a last price of 0.00000000 (not traded: no price). One unknown pair fails the whole call.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, ClassVar

from actors.providers.base import BaseProvider
from actors.providers.decode import decode_response
from actors.providers.failures import bad_payload, failure, status_failure
from actors.providers.fetcher import Fetcher
from actors.providers.http import HttpResponse
from actors.providers.idbook import AskList
from actors.providers.parsed import Parsed, gather
from actors.providers.unknown import UnknownIds, unknown_id
from actors.providers.values import count_text, number_text, positive_text, price_of_text
from actors.shapes import Shape
from cryptoviz.assets import Asset
from cryptoviz.clock import Clock
from cryptoviz.errors import CryptoVizError
from cryptoviz.records import FallbackReason, Observation
from cryptoviz.settings import ProviderSettings

__all__ = ["KrakenProvider", "error_of", "keys_of_pair", "parse_pairs", "parse_ticker"]

NAME = "kraken"
PATH = "/0/public/Ticker"
PAIRS_PATH = "/0/public/AssetPairs"
PAGE_PAIRS = 100
"""No limit is documented; so many keep the address below 1 kB."""
QUOTES = ("USDT", "USDC", "USD")
LAST_24H = 1
"""Index in `v p l h`; 0 is today."""
LOCKOUT_S = 900.0
"""`Temporary lockout` is documented as some minutes; asking earlier may lengthen it."""
_UNKNOWN_PAIR = "EQuery:Unknown asset pair"
# By the beginning of the text. Others are `unavailable`.
_ERRORS: tuple[tuple[str, FallbackReason], ...] = (
    ("EGeneral:Too many requests", FallbackReason.RATE_LIMITED),
    ("EAPI:Rate limit exceeded", FallbackReason.RATE_LIMITED),
    ("EService:Throttled", FallbackReason.RATE_LIMITED),  # may name the time (UTC epoch s) from which on calls are welcome
    ("EGeneral:Temporary lockout", FallbackReason.RATE_LIMITED),
    ("EGeneral:Permission denied", FallbackReason.AUTH),
    ("EAPI:Invalid key", FallbackReason.AUTH),
    ("EService:Deadline elapsed", FallbackReason.TIMEOUT),
    ("EService:Timeout", FallbackReason.TIMEOUT),
)
_UNTIL = re.compile(r"Throttled: ?([0-9]{10})\b")
# Kraken's own names of two coins; with assetVersion=1 it uses the usual ones.
_USUAL_NAMES = {"XBT": "BTC", "XDG": "DOGE"}


def _entries(data: Any) -> Iterable[Any]:
    result = data.get("result") if isinstance(data, dict) else None
    return result.values() if isinstance(result, dict) else ()


class KrakenProvider(BaseProvider):
    """No key."""

    name: ClassVar[str] = NAME
    default_base_url: ClassVar[str] = "https://api.kraken.com"
    default_min_interval_s: ClassVar[float] = 1.0
    shapes: ClassVar[Mapping[str, Shape]] = {
        PATH: Shape(_entries, used=dict.fromkeys("cvplh", "a"), other=dict.fromkeys("abt", "a") | {"o": "s"}),
    }

    def __init__(self, settings: ProviderSettings, fetcher: Fetcher, clock: Clock) -> None:
        super().__init__(settings, fetcher, clock)
        self._unknown = UnknownIds(NAME, clock)

    def memory(self) -> Any:
        """The ids that it leaves out because they were refused."""
        return sorted(self._unknown.refused) or None

    def recall(self, memory: Any) -> None:
        """See `BaseProvider.recall`."""
        self._unknown.recall(memory or ())

    def id_of(self, asset: Asset) -> str | None:
        """The pair, when it is quoted in dollars."""
        pair = super().id_of(asset)
        return pair if pair is not None and _split(pair) else None

    async def get_crypto_data(self, assets: Sequence[Asset]) -> list[Observation]:
        """One call for each 100 pairs."""
        ids = self.ids_of(assets)
        observations: list[Observation] = []
        for start in range(0, len(ids), PAGE_PAIRS):
            observations += await self._unknown.ask(dict(islice(ids.items(), start, start + PAGE_PAIRS)), self._ask)
        self.unlisted |= self._unknown.refused & ids.keys()
        return observations

    async def listed(self, ids: Collection[str], ask: AskList) -> Mapping[str, str] | None:
        """One call for each 100 pairs, without those that answers left out: one of them would fail it."""
        wanted = [pair for pair in ids if pair not in self.ids.left_out]
        found: dict[str, str] = {}
        for start in range(0, len(wanted), PAGE_PAIRS):
            page = wanted[start : start + PAGE_PAIRS]
            found |= await ask(PAIRS_PATH, {"pair": ",".join(page)}, partial(parse_pairs, pairs=page))
        return found

    async def _ask(self, ids: Mapping[str, str]) -> list[Observation]:
        return await self.fetch(PATH, {"pair": ",".join(ids)}, partial(parse_ticker, ids=ids))


def parse_ticker(response: HttpResponse, ids: Mapping[str, str]) -> Parsed:
    """A body of `/0/public/Ticker`. `ids` maps pairs (`XBTUSD`) to our asset ids; pairs that were not asked for are ignored.

    Raises:
        ProviderUnavailable, ProviderRefused, BadPayload: the answer as a whole is of no use.
    """
    result = _result(response)
    pairs = {key: pair for pair in ids for key in keys_of_pair(pair)}
    rows = ((pairs[key], row) for key, row in result.items() if key in pairs)
    return gather(ids, ((pair, _observation(row, pair, ids[pair])) for pair, row in rows))


def parse_pairs(response: HttpResponse, pairs: Collection[str]) -> dict[str, str]:
    """Those of `pairs` that a body of `/0/public/AssetPairs` has, with their `status` unless that is online. Raises as `parse_ticker`."""
    known = {key: pair for pair in pairs for key in keys_of_pair(pair)}
    rows = ((known[key], row.get("status")) for key, row in _result(response).items() if key in known and isinstance(row, dict))
    return {pair: "" if status in (None, "online") else str(status)[:20] for pair, status in rows}


def _result(response: HttpResponse) -> dict[str, Any]:
    """`result` of a good body; raises what `error` or the status says otherwise."""
    data = decode_response(NAME, response)
    result = data.get("result") if isinstance(data, dict) else None
    errors = data.get("error") if isinstance(data, dict) else None
    failed = [str(text) for text in errors if not str(text).startswith("W")] if isinstance(errors, list) else []
    if failed:
        raise error_of(response, failed[0])
    if response.status != 200:
        raise status_failure(NAME, response.status, "", response.retry_after_s)
    if not isinstance(result, dict):
        raise bad_payload(NAME, f"expected an object with result, received {type(data).__name__} without it")
    return result


def keys_of_pair(pair: str) -> tuple[str, ...]:
    """The keys under which a result can hold a pair: `XBTUSD` is also `XXBTZUSD`, `XBT/USD` and `BTC/USD`."""
    split = _split(pair)
    if split is None:
        return (pair,)
    base, quote = split
    names = {base, _USUAL_NAMES.get(base, base), next((own for own, usual in _USUAL_NAMES.items() if usual == base), base)}
    keys = {pair, *(f"{name}{quote}" for name in names), *(f"{name}/{quote}" for name in names), *(f"X{name}Z{quote}" for name in names)}
    return tuple(sorted(keys))


def _split(pair: str) -> tuple[str, str] | None:
    """Base and quote of `XBTUSD` or `BTC/USD`; None when the quote is not in dollars."""
    quote = next((quote for quote in QUOTES if pair.endswith(quote)), None)
    base = pair.removesuffix(quote).removesuffix("/") if quote is not None else ""
    return (base, quote) if quote is not None and base else None


def _observation(row: Any, pair: str, asset_id: str) -> Observation | FallbackReason:
    if not isinstance(row, dict):
        return FallbackReason.BAD_PAYLOAD
    price = price_of_text(_at(row.get("c"), 0))
    if isinstance(price, FallbackReason):
        return price
    split = _split(pair)
    return Observation(
        asset_id=asset_id,
        provider=NAME,
        provider_asset_id=pair,
        price=price,
        quote_currency=split[1] if split is not None else "USD",
        volume_24h=_turnover(_at(row.get("v"), LAST_24H), _at(row.get("p"), LAST_24H)),
        high_24h=positive_text(_at(row.get("h"), LAST_24H)),
        low_24h=positive_text(_at(row.get("l"), LAST_24H)),
    )


def _at(value: Any, index: int) -> Any:
    return value[index] if isinstance(value, list) and len(value) > index else None


def _turnover(volume: Any, average_price: Any) -> float | None:
    """In the quote currency: by its definition the volume-weighted average price is turnover over volume."""
    coins, average = count_text(volume), number_text(average_price)
    if coins is None or average is None or average < 0.0:
        return None
    result = coins * average
    return result if result < float("inf") else None


def error_of(response: HttpResponse, text: str) -> CryptoVizError:
    """The typed error of an answer that is not what was asked for."""
    message = f"HTTP {response.status} with {text[:100]}"
    if text.startswith(_UNKNOWN_PAIR):
        return unknown_id(NAME, message)
    reason = next((reason for start, reason in _ERRORS if text.startswith(start)), FallbackReason.UNAVAILABLE)
    wait_s, until = response.retry_after_s, _UNTIL.search(text)
    if wait_s is None and until is not None:
        wait_s = max(0.0, int(until[1]) - response.received_ms / 1000)
    if wait_s is None and text.startswith("EGeneral:Temporary lockout"):
        wait_s = LOCKOUT_S
    return failure(NAME, reason, message, wait_s)
