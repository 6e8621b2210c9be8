"""Kraken spot, `GET /0/public/Ticker`.

Sources: https://docs.kraken.com/api/docs/rest-api/get-ticker-information (fields), https://docs.kraken.com/exchange/guides/general/errors (errors).

- Ids are pairs, by any name of the listing: `altname` (`XBTUSD`), `wsname` (`XBT/USD`) or key. A result's keys are those of the listing, which follow
  no rule: `XXBTZUSD`, but `XDGUSD` and `SOLUSD`, and `BTC/USD` with `assetVersion=1`. So is the quote: `ZUSD`, `USDT`, `RLUSD`.
- `v p l h` are [today, last 24 hours], `c` is [price, lot volume], `t` is integers, `o` is text: today's opening, so there is no 24 h
  change. `p` is the volume-weighted average price: volume x average is the turnover in the quote currency. No time stamp, market cap, supply or rank.
- `GET /0/public/AssetPairs?pair=..` (https://docs.kraken.com/api/docs/rest-api/get-tradable-asset-pairs) is the listing: key, names, base and quote,
  and the `status`: online, or cancel_only, post_only, limit_only, reduce_only. An unknown pair fails it as well. A pair requested by an alias that
  is none of its names (`DOGEUSD`) is returned under its key, so it is looked up in a call of its own.
- Limits: not published; one call a second is known to be safe. Errors are in `error`, also with HTTP 200; those that begin with W are warnings.
- Odd values: over a hundred pairs have a last price of 0.00000000 (not traded: no price). An unknown pair fails the whole call.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, ClassVar

from cryptoviz.errors import ProviderFailure
from cryptoviz.providers.asset import Asset
from cryptoviz.providers.failures import bad_payload, failure, is_final_status, reason_of, status_failure
from cryptoviz.providers.history import MINUTE_MS, HistorySource, Point, Step, Window, candles
from cryptoviz.providers.pair_provider import ListingCall, PairProvider
from cryptoviz.providers.pairs import Entry, Pair, pairs_of_table
from cryptoviz.providers.parse_result import Parsed, gather
from cryptoviz.providers.plan import Plan
from cryptoviz.providers.response import HttpResponse, decode_response
from cryptoviz.providers.schema_drift import Shape
from cryptoviz.providers.spec import ProviderSpec
from cryptoviz.providers.symbol_bisect import unknown_id
from cryptoviz.providers.values import count_text, number_text, positive_text, price_of_text
from cryptoviz.records import FallbackReason, Observation

__all__ = ["PAIRS_PATH", "KrakenProvider", "parse_pairs", "parse_ticker", "result_of"]

NAME = "kraken"
PATH = "/0/public/Ticker"
PAIRS_PATH = "/0/public/AssetPairs"
PAGE_PAIRS = 100
"""No limit is documented; this number keeps the URL below 1 kB."""
MOST_ALIASES = 10
"""Maximum number of aliases that are looked up one by one when the listing is read; further aliases have no price."""
LAST_24H = 1
"""Index in `v p l h`; 0 is today."""
_TRADES_AT = 7
"""Index of the number of trades in a candle's row."""
LOCKOUT_S = 900.0
"""`Temporary lockout` is documented as some minutes; a call before its end may lengthen it."""
_KEY = re.compile(r"X([A-Z]{3})Z(USD|EUR|GBP|CAD|JPY|AUD)")
_BASES = {"BTC": "XBT", "DOGE": "XDG"}
"""Common names of a currency and Kraken's own."""
_UNKNOWN_PAIR = "EQuery:Unknown asset pair"
_FINAL_ERRORS = ("EQuery:", "EGeneral:Invalid arguments", "EGeneral:Unknown method")
"""The same request can never succeed."""
# By the beginning of the text. For other errors the HTTP status decides.
_ERRORS: tuple[tuple[str, FallbackReason], ...] = (
    ("EGeneral:Too many requests", FallbackReason.RATE_LIMITED),
    ("EAPI:Rate limit exceeded", FallbackReason.RATE_LIMITED),
    ("EService:Throttled", FallbackReason.RATE_LIMITED),  # may contain the time (UTC epoch s) from which calls are permitted
    ("EGeneral:Temporary lockout", FallbackReason.RATE_LIMITED),
    ("EGeneral:Permission denied", FallbackReason.AUTH),
    ("EAPI:Invalid key", FallbackReason.AUTH),
    ("EService:Deadline elapsed", FallbackReason.TIMEOUT),
    ("EService:Timeout", FallbackReason.TIMEOUT),
)
_UNTIL = re.compile(r"Throttled: ?([0-9]{10})\b")
# Kraken's code of a currency -> its name in records; other codes are names themselves.
_CURRENCIES = {"ZUSD": "USD"}


def _entries(data: Any) -> Iterable[Any]:
    result = data.get("result") if isinstance(data, dict) else None
    return result.values() if isinstance(result, dict) else ()


def _normal_pair(pair: str) -> str:
    text = pair.upper().replace("/", "")
    if key := _KEY.fullmatch(text):
        text = key[1] + key[2]
    return next((own + text[len(other) :] for other, own in _BASES.items() if text.startswith(other) and len(text) > len(other)), text)


class KrakenHistory(HistorySource):
    """`GET /0/public/OHLC`: the close. Always the last 720 candles, so older ticks need longer candles, up to 15 minutes.

    https://docs.kraken.com/api/docs/rest-api/get-ohlc-data (the last candle is unfinished)
    """

    path: ClassVar[str] = "/0/public/OHLC"
    _ROWS = 720
    _LENGTHS_MS = (MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS)
    _LOOKBACK = 2

    def steps(self, ticks: Sequence[int], now_ms: int, max_age_ms: int = 0) -> list[Step]:
        """See `HistorySource`. A candle length is used for ticks whose whole limit of staleness it reaches back over, or half of its candles."""
        found: list[Step] = []
        left = list(ticks)
        for length in self._LENGTHS_MS:
            lookback_ms = min(max(self._LOOKBACK * length, max_age_ms), self._ROWS // 2 * length)
            reach_ms = now_ms - (self._ROWS - 1) * length + lookback_ms
            own = tuple(tick for tick in left if tick >= reach_ms)
            left = [tick for tick in left if tick < reach_ms]
            if own:
                found.append(Step(own, length, self._ROWS * length, self._LOOKBACK * length))
        return found

    def request(self, provider_id: str, window: Window, step: Step) -> tuple[str, dict[str, str]]:
        # `since` itself is excluded.
        since = str((window.from_ms - step.length_ms) // 1000)
        return self.path, {"pair": provider_id, "interval": str(step.length_ms // MINUTE_MS), "since": since}

    def parse(self, response: HttpResponse, step: Step) -> list[Point]:
        """See `HistorySource`. A row is [time, open, high, low, close, vwap, volume, count], the time in seconds."""
        result = result_of(response)
        # One pair was requested: the only series belongs to it, under any key.
        series = [rows for key, rows in result.items() if key != "last"]
        if len(series) != 1 or not isinstance(series[0], list):
            raise bad_payload(NAME, "expected an object with one pair's candles in result")
        return candles(NAME, series[0], _TRADES_AT, 1000, step.length_ms, response.received_ms)

    def listing_request(self, provider_id: str) -> tuple[str, dict[str, str]]:
        return PAIRS_PATH, {"pair": provider_id}

    def parse_listing(self, response: HttpResponse) -> list[Entry]:
        return parse_pairs(response)


SPEC = ProviderSpec(
    name=NAME,
    display_name="Kraken",
    base_url="https://api.kraken.com",
    # https://docs.kraken.com/api/docs/guides/spot-rest-ratelimits
    # Unpublished: a call a second.
    plans={"": Plan(per_minute=60)},
    min_interval_s=1.0,
    # Against USD, in `altname` form. BNB is listed since 2025. VET against USD was in no listing that was read.
    asset_ids={
        "bitcoin": "XBTUSD", "ethereum": "ETHUSD", "binancecoin": "BNBUSD", "ripple": "XRPUSD", "cardano": "ADAUSD", "solana": "SOLUSD",
        "polkadot": "DOTUSD", "polygon": "POLUSD", "avalanche": "AVAXUSD", "litecoin": "LTCUSD", "chainlink": "LINKUSD", "uniswap": "UNIUSD",
        "cosmos": "ATOMUSD", "stellar": "XLMUSD", "algorand": "ALGOUSD", "filecoin": "FILUSD",
    },
    alias_ids={"matic": "MATICUSD"},
    quote="USD",
    normal_id=_normal_pair,
    shapes={
        PATH: Shape(_entries, used=dict.fromkeys("cvplh", "a"), other=dict.fromkeys("abt", "a") | {"o": "s"}),
    },
    history=KrakenHistory(),
)  # fmt: skip


class KrakenProvider(PairProvider):
    """No key."""

    spec: ClassVar[ProviderSpec] = SPEC
    listing_page: ClassVar[int] = PAGE_PAIRS

    # The recording has none either.
    before_listings: ClassVar[Mapping[str, Any]] = {"pairs": {}, "absent": [], "due": True, "old": True}

    async def get_crypto_data(self, assets: Sequence[Asset]) -> list[Observation]:
        """One call for each 100 pairs; before it, once a day and for new pairs, the listing."""
        ids, pairs, requested = await self._look_up(assets)
        observations = await self._by_page(requested, PAGE_PAIRS, partial(self._ask, pairs=pairs))
        waiting, poll = self._book.waiting(ids), self.current_poll
        if poll.unlisted - waiting:
            self._book.doubt()
        # An id whose listing has not been read yet is not an unknown id.
        poll.unlisted = (poll.unlisted - waiting) | ((self._unknown.refused | self._book.absent) & ids.keys())
        return observations

    def listing_call(self, ids: Collection[str]) -> ListingCall:
        return PAIRS_PATH, {"pair": ",".join(ids)}, parse_pairs

    async def _ask(self, ids: Mapping[str, str], pairs: Mapping[str, Pair]) -> list[Observation]:
        return await self.fetch(PATH, {"pair": ",".join(ids)}, partial(parse_ticker, ids=ids, pairs=pairs))

    async def _entries(self, ids: Mapping[str, str]) -> list[Entry]:
        entries = await super()._entries(ids)
        named = {name for entry in entries for name in entry.names | {entry.pair.key}}
        for alias in islice((pair for pair in ids if pair not in named and pair not in self._unknown.refused), MOST_ALIASES):
            answer = await self._unknown.ask({alias: ids[alias]}, self._ask_listing)
            if len(answer) == 1:
                entries.append(Entry(answer[0].pair, answer[0].names | {alias}, answer[0].halted))
        return entries


def parse_ticker(response: HttpResponse, ids: Mapping[str, str], pairs: Mapping[str, Pair] | None = None) -> Parsed:
    """A body of `/0/public/Ticker`. `ids` maps pairs (`XBTUSD`) to our asset ids; pairs that were not requested are ignored.

    `pairs`: their entries in the listing. Without it a pair counts under exactly its id, if the asset table has its currency.

    Raises:
        ProviderUnavailable, ProviderRefused, BadPayload: the whole response is unusable.
    """
    result = result_of(response)
    if result and not any(isinstance(row, dict) and "c" in row for row in result.values()):
        raise bad_payload(NAME, "expected pairs with their last trade in result, received none")
    known = pairs_of_table(SPEC.quote_of, ids) if pairs is None else pairs
    rows = ((pair, known[pair], result[known[pair].key]) for pair in ids if pair in known and known[pair].key in result)
    return gather(ids, ((pair, _observation(row, pair, listing.quote, ids[pair])) for pair, listing, row in rows))


def parse_pairs(response: HttpResponse) -> list[Entry]:
    """The pairs in a body of `/0/public/AssetPairs`, halted by their `status` unless that is online. Raises as `parse_ticker`."""
    result = result_of(response)
    entries = [_entry(key, row) for key, row in result.items() if isinstance(row, dict) and isinstance(row.get("altname", row.get("quote")), str)]
    if result and not entries:
        raise bad_payload(NAME, "expected pairs with their names in result, received none")
    return entries


def _entry(key: str, row: dict[str, Any]) -> Entry:
    quote, status = row.get("quote"), row.get("status")
    names = frozenset(name for name in (row.get("altname"), row.get("wsname")) if isinstance(name, str) and name)
    currency = _CURRENCIES.get(quote, quote) if isinstance(quote, str) else ""
    return Entry(Pair(key, currency), names, "" if status in (None, "online") else str(status)[:20])


def result_of(response: HttpResponse) -> dict[str, Any]:
    """`result` of a good body; raises the error of `error` or the status otherwise."""
    data = decode_response(NAME, response)
    result = data.get("result") if isinstance(data, dict) else None
    errors = data.get("error") if isinstance(data, dict) else None
    failed = [str(text) for text in errors if not str(text).startswith("W")] if isinstance(errors, list) else []
    if failed:
        raise _error_of(response, failed[0])
    if response.status != 200:
        raise status_failure(NAME, response.status, "", response.retry_after_s)
    if not isinstance(result, dict):
        raise bad_payload(NAME, f"expected an object with result, received {type(data).__name__} without it")
    return result


def _observation(row: Any, pair: str, quote: str, asset_id: str) -> Observation | FallbackReason:
    if not isinstance(row, dict):
        return FallbackReason.BAD_PAYLOAD
    price = price_of_text(_at(row.get("c"), 0))
    if isinstance(price, FallbackReason):
        return price
    return Observation(
        asset_id=asset_id,
        provider=NAME,
        provider_asset_id=pair,
        price=price,
        quote_currency=quote,
        volume_24h=_turnover(_at(row.get("v"), LAST_24H), _at(row.get("p"), LAST_24H)),
        high_24h=positive_text(_at(row.get("h"), LAST_24H)),
        low_24h=positive_text(_at(row.get("l"), LAST_24H)),
    )


def _at(value: Any, index: int) -> Any:
    return value[index] if isinstance(value, list) and len(value) > index else None


def _turnover(volume: Any, average_price: Any) -> float | None:
    """In the quote currency: the volume-weighted average price is by definition turnover / volume."""
    coins, average = count_text(volume), number_text(average_price)
    if coins is None or average is None or average < 0.0:
        return None
    result = coins * average
    return result if result < float("inf") else None


def _error_of(response: HttpResponse, text: str) -> ProviderFailure:
    """The typed error of a response without the requested data."""
    message = f"HTTP {response.status} with {text[:100]}"
    if text.startswith(_UNKNOWN_PAIR):
        return unknown_id(NAME, message)
    reason = next((reason for start, reason in _ERRORS if text.startswith(start)), reason_of(response.status))
    wait_s, until = response.retry_after_s, _UNTIL.search(text)
    if wait_s is None and until is not None:
        left_s = int(until[1]) - response.received_ms / 1000
        wait_s = left_s if left_s > 0 else None
    if wait_s is None and text.startswith("EGeneral:Temporary lockout"):
        wait_s = LOCKOUT_S
    final = text.startswith(_FINAL_ERRORS) or is_final_status(response.status)
    return failure(NAME, reason, message, wait_s, final=final)
