"""Binance spot, `GET /api/v3/ticker/24hr`.

Sources: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints (fields, weights), .../rest-api/http-return-codes
(403, 418, 429), .../errors (codes), .../faqs/market_data_only (the host for public data).

- Ids are symbols; the quote is what the symbol ends in, mostly USDT, and a record says so. There is no market cap, supply, rank or change but the
  24 h one.
- Limits: 6 000 weight a minute and address; a call for 1-20 symbols weighs 2, for 21-100 it weighs 40, for all 80. So symbols are asked for by
  twenties, and past 200 all are asked for at once. `X-MBX-USED-WEIGHT-1M` tells the weight used. 429 comes with `Retry-After`; who goes on asking is
  banned with 418, for 2 minutes to 3 days. 403 is the firewall, for its own limit.
- `GET /api/v3/exchangeInfo?symbols=[..]` (.../rest-api/general-endpoints) weighs 20 however many symbols; `status` is TRADING, HALT or BREAK. One
  unknown symbol fails it as well.
- Odd values: amounts are text; a delisted symbol stays with `lastPrice` 0, `firstId` -1 and `count` 0 (no trade within the day: no price of now); a
  symbol may be all digits. One unknown symbol fails the whole call with -1121.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import islice
from typing import Any, ClassVar

import orjson

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

__all__ = ["BinanceProvider", "error_of", "parse_info", "parse_tickers"]

NAME = "binance"
PATH = "/api/v3/ticker/24hr"
INFO_PATH = "/api/v3/exchangeInfo"
INFO_WEIGHT = 20
INFO_SYMBOLS = 100
"""Keeps the address below 2 kB."""
CHEAP_SYMBOLS = 20
ALL_ABOVE_SYMBOLS = 200
"""Ten calls of twenty; all symbols at once weigh 80 instead of 20, and come in one."""
DOLLARS = ("FDUSD", "USDT", "USDC", "TUSD", "USD")
"""Quotes whose prices can stand beside dollar prices; symbols against anything else are not asked for."""
BAN_S = 120.0
"""The shortest documented ban, for a 418 that names no time."""
CLOCK_SKEW_MS = 86_400_000
"""A `closeTime` further ahead is no time in ms (the API can answer in microseconds)."""
# The firewall's limit was passed, which has nothing to do with a key.
STATUS_REASONS = {403: FallbackReason.RATE_LIMITED}
_BAD_SYMBOL = -1121
_CODES: dict[int, FallbackReason] = {
    -1003: FallbackReason.RATE_LIMITED,  # too much weight, or a ban with its end in the text
    -1007: FallbackReason.TIMEOUT,  # no answer from the backend in time
    -1034: FallbackReason.RATE_LIMITED,  # too many connections
    -2014: FallbackReason.AUTH,  # bad key format
    -2015: FallbackReason.AUTH,  # key, address or permission
}
_BANNED_UNTIL = re.compile(r"banned until ([0-9]{13})\b")


def _entries(data: Any) -> Iterable[Any]:
    return data if isinstance(data, list) else ()


class BinanceProvider(BaseProvider):
    """No key. `providers.binance.base_url` may name `https://api.binance.com` or a regional host."""

    name: ClassVar[str] = NAME
    default_base_url: ClassVar[str] = "https://data-api.binance.vision"
    # 6 000 weight a minute at 2 a call would allow 50 a second; a tenth of a second keeps a burst of pages small.
    default_min_interval_s: ClassVar[float] = 0.1
    listing_weight: ClassVar[int] = INFO_WEIGHT
    status_reasons: ClassVar[Mapping[int, FallbackReason]] = STATUS_REASONS
    shapes: ClassVar[Mapping[str, Shape]] = {
        PATH: Shape(
            _entries,
            used={
                "symbol": "s", "lastPrice": "s", "priceChangePercent": "s", "highPrice": "s", "lowPrice": "s", "quoteVolume": "s", "closeTime": "n",
                "firstId": "n", "count": "n",
            },
            other={
                **dict.fromkeys(("openPrice", "volume", "priceChange", "weightedAvgPrice", "prevClosePrice", "lastQty"), "s"),
                **dict.fromkeys(("bidPrice", "bidQty", "askPrice", "askQty"), "s"), "openTime": "n", "lastId": "n",
            },
        )
    }  # fmt: skip

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
        """The symbol, when it is quoted in dollars."""
        symbol = super().id_of(asset)
        return symbol if symbol is not None and _quote_of(symbol) else None

    async def get_crypto_data(self, assets: Sequence[Asset]) -> list[Observation]:
        """One call for each 20 symbols, or one for all symbols there are."""
        ids = self.ids_of(assets)
        if len(ids) > ALL_ABOVE_SYMBOLS:
            return await self.fetch(PATH, {}, partial(parse_tickers, ids=ids), partial(_shorten, ids=ids))
        observations: list[Observation] = []
        for start in range(0, len(ids), CHEAP_SYMBOLS):
            observations += await self._unknown.ask(dict(islice(ids.items(), start, start + CHEAP_SYMBOLS)), self._ask)
        self.unlisted |= self._unknown.refused & ids.keys()
        return observations

    async def listed(self, ids: Collection[str], ask: AskList) -> Mapping[str, str] | None:
        """One call for each 100 symbols, without those that answers left out: one of them would fail it."""
        wanted = [symbol for symbol in ids if symbol not in self.ids.left_out]
        found: dict[str, str] = {}
        for start in range(0, len(wanted), INFO_SYMBOLS):
            symbols = orjson.dumps(wanted[start : start + INFO_SYMBOLS]).decode()
            found |= await ask(INFO_PATH, {"symbols": symbols, "showPermissionSets": "false"}, parse_info)
        return found

    async def _ask(self, ids: Mapping[str, str]) -> list[Observation]:
        return await self.fetch(PATH, {"symbols": orjson.dumps(list(ids)).decode()}, partial(parse_tickers, ids=ids))


def parse_tickers(response: HttpResponse, ids: Mapping[str, str]) -> Parsed:
    """A body of `/api/v3/ticker/24hr`. `ids` maps symbols to our asset ids; symbols that were not asked for are ignored.

    Raises:
        ProviderUnavailable, ProviderRefused, BadPayload: the answer as a whole is of no use.
    """
    data = decode_response(NAME, response, STATUS_REASONS)
    if response.status != 200 or not isinstance(data, list):
        raise error_of(response, data)
    rows = ((row.get("symbol"), row) for row in data if isinstance(row, dict))
    known = ((symbol, row) for symbol, row in rows if isinstance(symbol, str) and symbol in ids)
    return gather(ids, ((symbol, _observation(row, ids[symbol], response.received_ms)) for symbol, row in known))


def parse_info(response: HttpResponse) -> dict[str, str]:
    """Symbols in a body of `/api/v3/exchangeInfo`, with their `status` unless that is TRADING. Raises as `parse_tickers`."""
    data = decode_response(NAME, response, STATUS_REASONS)
    symbols = data.get("symbols") if isinstance(data, dict) else None
    if response.status != 200 or not isinstance(symbols, list):
        raise error_of(response, data)
    rows = ((row.get("symbol"), row.get("status")) for row in symbols if isinstance(row, dict))
    return {symbol: "" if status in (None, "TRADING") else str(status)[:20] for symbol, status in rows if isinstance(symbol, str)}


def _observation(row: dict[str, Any], asset_id: str, received_ms: int) -> Observation | FallbackReason:
    price = price_of_text(row.get("lastPrice"))
    if row.get("firstId") == -1 or row.get("count") == 0:
        return FallbackReason.MISSING_ASSET
    if isinstance(price, FallbackReason):
        return price
    return Observation(
        asset_id=asset_id,
        provider=NAME,
        provider_asset_id=row["symbol"],
        price=price,
        quote_currency=_quote_of(row["symbol"]) or "USDT",
        source_ts=_stamp(row.get("closeTime"), received_ms),
        volume_24h=count_text(row.get("quoteVolume")),
        high_24h=positive_text(row.get("highPrice")),
        low_24h=positive_text(row.get("lowPrice")),
        change_24h_pct=number_text(row.get("priceChangePercent")),
    )


@lru_cache(maxsize=4096)
def _quote_of(symbol: str) -> str | None:
    return next((quote for quote in DOLLARS if symbol.endswith(quote) and symbol != quote), None)


def _stamp(value: Any, received_ms: int) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 < value <= received_ms + CLOCK_SKEW_MS else None


def _shorten(body: bytes, ids: Mapping[str, str]) -> bytes:
    return orjson.dumps([row for row in orjson.loads(body) if isinstance(row, dict) and row.get("symbol") in ids])


def error_of(response: HttpResponse, data: Any) -> CryptoVizError:
    """The typed error of an answer that is not what was asked for."""
    body = data if isinstance(data, dict) else {}
    code, text = body.get("code"), body.get("msg")
    text = text if isinstance(text, str) else ""
    if code == _BAD_SYMBOL:
        return unknown_id(NAME, f"error {code}: {text}")
    wait_s = response.retry_after_s
    until = _BANNED_UNTIL.search(text)
    if wait_s is None and until is not None:
        wait_s = max(0.0, (int(until[1]) - response.received_ms) / 1000)
    if wait_s is None and response.status == 418:
        wait_s = BAN_S
    reason = _CODES.get(code) if isinstance(code, int) else None
    if reason is not None:
        return failure(NAME, reason, f"HTTP {response.status} with error {code}: {text}", wait_s)
    if response.status != 200:
        return status_failure(NAME, response.status, text, wait_s, STATUS_REASONS)
    return bad_payload(NAME, f"expected an array of tickers, received {type(data).__name__} {text}".rstrip())
