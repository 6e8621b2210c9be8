"""Binance spot, `GET /api/v3/ticker/24hr`.

Sources: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints (fields, weights), .../rest-api/http-return-codes
(403, 418, 429), .../errors (codes), .../faqs/market_data_only (the host for public data).

- Ids are symbols. The quote currency is the listing's `quoteAsset`, mostly USDT, and is recorded: a symbol's text does not determine it
  (`BTCBUSD`, `XRPRLUSD`). There is no market cap, supply or rank, and no change other than over 24 h.
- Limits: 6 000 weight a minute and address; a call for 1-20 symbols weighs 2, for 21-100 it weighs 40, for all 80. Symbols are
  therefore requested in groups of 20, and all at once above 200. `X-MBX-USED-WEIGHT-1M` is the weight used. 429 comes with `Retry-After`; further
  calls are answered with 418, a ban for 2 minutes to 3 days. 403 is the firewall, which has a limit of its own.
- `GET /api/v3/exchangeInfo?symbols=[..]` (.../rest-api/general-endpoints) is the listing: it weighs 20 for any number of symbols; `status` is
  TRADING, HALT or BREAK. An unknown symbol fails it as well.
- Odd values: amounts are text; a delisted symbol stays with `lastPrice` 0, `firstId` -1 and `count` 0 (no trade within the day, so no current
  price); a symbol may be all digits. An unknown symbol fails the whole call with -1121.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import orjson

from cryptoviz.errors import ProviderFailure
from cryptoviz.providers.asset import Asset
from cryptoviz.providers.failures import bad_payload, failure, status_failure
from cryptoviz.providers.history import MINUTE_MS, SECOND_MS, HistorySource, Point, Step, Window, candles
from cryptoviz.providers.pair_provider import ListingCall, PairProvider
from cryptoviz.providers.pairs import Entry, Pair, pairs_of_table
from cryptoviz.providers.parse_result import Parsed, gather, require_rows
from cryptoviz.providers.plan import Cost, Plan
from cryptoviz.providers.response import HttpResponse, decode_response
from cryptoviz.providers.schema_drift import Shape
from cryptoviz.providers.spec import ProviderSpec
from cryptoviz.providers.symbol_bisect import unknown_id
from cryptoviz.providers.values import bounded_ms, count_text, number_text, positive_text, price_of_text
from cryptoviz.records import FallbackReason, Observation

__all__ = ["INFO_PATH", "BinanceProvider", "error_of", "info_query", "parse_info", "parse_tickers"]

NAME = "binance"
PATH = "/api/v3/ticker/24hr"
INFO_PATH = "/api/v3/exchangeInfo"
INFO_WEIGHT = 20
INFO_SYMBOLS = 100
"""Keeps the URL below 2 kB."""
CHEAP_SYMBOLS = 20
ALL_ABOVE_SYMBOLS = 200
"""Ten calls of 20 symbols; one call for all symbols weighs 80 instead of 20."""
_WEIGHTS = ((20, 2), (100, 40))
"""Weights of `ticker/24hr` by maximum number of symbols; above the last, `_MOST_WEIGHT`."""
_MOST_WEIGHT = 80
_TRADES_AT = 8
"""Index of the number of trades in a candle's row."""
BAN_S = 120.0
"""The shortest documented ban, for a 418 without a time."""
MICROSECONDS_FROM = 10**15
"""The API can return microseconds; read as ms, such a number would be 30 000 years in the future."""
# The firewall's limit was exceeded; this does not concern a key.
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


def _cost(symbols: int) -> Cost:
    """The weight of one call for this number of symbols. Pages of `CHEAP_SYMBOLS` together weigh no more."""
    return Cost(weight=next((weight for most, weight in _WEIGHTS if symbols <= most), _MOST_WEIGHT))


class BinanceHistory(HistorySource):
    """`GET /api/v3/klines`: the close. Candles of a minute for ticks on whole minutes, of a second for others. 1 000 a call.

    https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#klinecandlestick-data
    """

    path: ClassVar[str] = "/api/v3/klines"
    _ROWS = 1_000
    _LOOKBACK = 5  # candles: most pairs trade within that time

    def steps(self, ticks: Sequence[int], now_ms: int, max_age_ms: int = 0) -> list[Step]:
        del now_ms, max_age_ms
        minutes = tuple(tick for tick in ticks if tick % MINUTE_MS == 0)
        others = tuple(tick for tick in ticks if tick % MINUTE_MS)
        both = ((minutes, MINUTE_MS), (others, SECOND_MS))
        return [Step(own, length, (self._ROWS - 1) * length, self._LOOKBACK * length) for own, length in both if own]

    def request(self, provider_id: str, window: Window, step: Step) -> tuple[str, dict[str, str]]:
        interval = "1m" if step.length_ms == MINUTE_MS else "1s"
        query = {
            "symbol": provider_id,
            "interval": interval,
            "startTime": str(window.from_ms),
            "endTime": str(window.to_ms),
            "limit": str(self._ROWS),
        }
        return self.path, query

    def parse(self, response: HttpResponse, step: Step) -> list[Point]:
        """See `HistorySource`. A row is [open time, open, high, low, close, volume, close time, ...]."""
        data = decode_response(NAME, response, STATUS_REASONS)
        if response.status != 200 or not isinstance(data, list):
            raise error_of(response, data)
        return candles(NAME, data, _TRADES_AT, 1, step.length_ms, response.received_ms)

    def listing_request(self, provider_id: str) -> tuple[str, dict[str, str]]:
        return INFO_PATH, info_query((provider_id,))

    def parse_listing(self, response: HttpResponse) -> list[Entry]:
        return parse_info(response)


SPEC = ProviderSpec(
    name=NAME,
    display_name="Binance",
    base_url="https://data-api.binance.vision",
    # https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits
    # Weight.
    plans={"": Plan(per_minute=6_000)},
    cost=_cost,
    # 6 000 weight a minute at 2 a call would allow 50 a second; a tenth of a second keeps a burst of pages small.
    min_interval_s=0.1,
    asset_ids={
        "bitcoin": "BTCUSDT", "ethereum": "ETHUSDT", "binancecoin": "BNBUSDT", "ripple": "XRPUSDT", "cardano": "ADAUSDT", "solana": "SOLUSDT",
        "polkadot": "DOTUSDT", "polygon": "POLUSDT", "avalanche": "AVAXUSDT", "litecoin": "LTCUSDT", "chainlink": "LINKUSDT", "uniswap": "UNIUSDT",
        "cosmos": "ATOMUSDT", "stellar": "XLMUSDT", "algorand": "ALGOUSDT", "vechain": "VETUSDT", "filecoin": "FILUSDT",
    },
    alias_ids={"matic": "MATICUSDT"},
    quote="USDT",
    normal_id=str.upper,
    listing_weight=INFO_WEIGHT,
    shapes={
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
    },
    status_reasons=STATUS_REASONS,
    history=BinanceHistory(),
)  # fmt: skip


class BinanceProvider(PairProvider):
    """No key. `providers.binance.base_url` may name `https://api.binance.com` or a regional host."""

    spec: ClassVar[ProviderSpec] = SPEC
    listing_page: ClassVar[int] = INFO_SYMBOLS

    # Only the asset table is known.
    before_listings: ClassVar[Mapping[str, Any]] = {"pairs": {}, "absent": [], "due": False, "old": False}

    async def get_crypto_data(self, assets: Sequence[Asset]) -> list[Observation]:
        """One call for each 20 symbols, or one for all; before it, once a day and for new symbols, the listing."""
        ids, pairs, requested = await self._look_up(assets)
        if len(requested) > ALL_ABOVE_SYMBOLS:
            observations = await self.fetch(PATH, {}, partial(parse_tickers, ids=requested, pairs=pairs), partial(_shorten, ids=requested))
        else:
            observations = await self._by_page(requested, CHEAP_SYMBOLS, partial(self._ask, pairs=pairs))
        if self.current_poll.unlisted:
            self._book.doubt()
        self.current_poll.unlisted |= (self._unknown.refused | self._book.absent) & ids.keys()
        return observations

    def listing_call(self, ids: Collection[str]) -> ListingCall:
        return INFO_PATH, info_query(ids), parse_info

    async def _ask(self, ids: Mapping[str, str], pairs: Mapping[str, Pair]) -> list[Observation]:
        return await self.fetch(PATH, {"symbols": orjson.dumps(list(ids)).decode()}, partial(parse_tickers, ids=ids, pairs=pairs))


def info_query(symbols: Iterable[str]) -> dict[str, str]:
    """The query of `/api/v3/exchangeInfo` for some symbols."""
    return {"symbols": orjson.dumps(list(symbols)).decode(), "showPermissionSets": "false"}


def parse_tickers(response: HttpResponse, ids: Mapping[str, str], pairs: Mapping[str, Pair] | None = None) -> Parsed:
    """A body of `/api/v3/ticker/24hr`. `ids` maps symbols to our asset ids; symbols that were not requested are ignored.

    `pairs`: their entries in the listing. Without it a symbol counts if the asset table has its currency.

    Raises:
        ProviderUnavailable, ProviderRefused, BadPayload: the whole response is unusable.
    """
    data = decode_response(NAME, response, STATUS_REASONS)
    if response.status != 200 or not isinstance(data, list):
        raise error_of(response, data)
    require_rows(NAME, data, lambda row: isinstance(row.get("symbol"), str) and "lastPrice" in row)
    known = pairs_of_table(SPEC.quote_of, ids) if pairs is None else pairs
    rows = ((row.get("symbol"), row) for row in data if isinstance(row, dict))
    asked = ((symbol, row) for symbol, row in rows if isinstance(symbol, str) and symbol in ids and symbol in known)
    return gather(ids, ((symbol, _observation(row, known[symbol].quote, ids[symbol])) for symbol, row in asked))


def parse_info(response: HttpResponse) -> list[Entry]:
    """Symbols in a body of `/api/v3/exchangeInfo`, halted by their `status` unless that is TRADING. Raises as `parse_tickers`."""
    data = decode_response(NAME, response, STATUS_REASONS)
    symbols = data.get("symbols") if isinstance(data, dict) else None
    if response.status != 200 or not isinstance(symbols, list):
        raise error_of(response, data)
    require_rows(NAME, symbols, lambda row: isinstance(row.get("symbol"), str))
    return [_entry(row) for row in symbols if isinstance(row, dict) and isinstance(row.get("symbol"), str)]


def _entry(row: dict[str, Any]) -> Entry:
    symbol, quote, status = row["symbol"], row.get("quoteAsset"), row.get("status")
    return Entry(Pair(symbol, quote if isinstance(quote, str) else ""), frozenset({symbol}), "" if status in (None, "TRADING") else str(status)[:20])


def _observation(row: dict[str, Any], quote: str, asset_id: str) -> Observation | FallbackReason:
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
        quote_currency=quote,
        source_ts=_stamp(row.get("closeTime")),
        volume_24h=count_text(row.get("quoteVolume")),
        high_24h=positive_text(row.get("highPrice")),
        low_24h=positive_text(row.get("lowPrice")),
        change_24h_pct=number_text(row.get("priceChangePercent")),
    )


def _stamp(value: Any) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return bounded_ms(value // 1000 if value >= MICROSECONDS_FROM else value)


def _shorten(data: Any, ids: Mapping[str, str]) -> list[Any]:
    return [row for row in data if isinstance(row, dict) and row.get("symbol") in ids]


def error_of(response: HttpResponse, data: Any) -> ProviderFailure:
    """The typed error of a response without the requested data."""
    body = data if isinstance(data, dict) else {}
    code, text = body.get("code"), body.get("msg")
    text = text if isinstance(text, str) else ""
    if code == _BAD_SYMBOL:
        return unknown_id(NAME, f"error {code}: {text}")
    wait_s = response.retry_after_s
    until = _BANNED_UNTIL.search(text)
    if wait_s is None and until is not None:
        # A ban that has ended by our clock may continue by theirs, and a call during a ban lengthens it.
        left_s = (int(until[1]) - response.received_ms) / 1000
        wait_s = left_s if left_s > 0 else BAN_S
    if response.status == 418 and not wait_s:
        wait_s = BAN_S
    reason = _CODES.get(code) if isinstance(code, int) else None
    if reason is not None:
        return failure(NAME, reason, f"HTTP {response.status} with error {code}: {text}", wait_s)
    if response.status != 200:
        return status_failure(NAME, response.status, text, wait_s, STATUS_REASONS)
    return bad_payload(NAME, f"expected an array of tickers, received {type(data).__name__} {text}".rstrip())
