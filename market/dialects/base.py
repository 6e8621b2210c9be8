"""Interface of a provider's dialect. A dialect is pure: it maps request and view to an answer, without sockets or clock."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from market.coins import ReplayedCoin
from market.quotes import Market, PriceView, Quote
from market.tape import Trade
from market.trade_book import Instrument, TradeBook

__all__ = [
    "Answer",
    "Dialect",
    "RefillSpan",
    "Request",
    "Usage",
    "View",
    "finish_row",
    "fixed",
    "listed",
    "listed_coins",
    "price_text",
    "ranks_by",
    "served_price",
    "whole_number",
]

Row = TypeVar("Row", dict[str, Any], list[Any])

_DIGITS = re.compile(r"[0-9]{1,18}")
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `path` is relative to the provider's base URL; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """A client's usage and limits: weight in this minute, credits in this month and, if limited, calls in this second.

    `banned_until_ms` (UTC epoch ms) is in the future while the client is banned.
    """

    minute_limit: int
    minute_used: int
    month_limit: int
    month_used: int
    second_limit: int | None = None
    second_used: int = 0
    banned_until_ms: int = 0


@dataclass(frozen=True, slots=True)
class RefillSpan:
    """What REST has at present: trades from one market time to another (us since the anchor, inclusive)."""

    from_us: int
    until_us: int


@dataclass(frozen=True, slots=True)
class View:
    """A provider's view of the market at `now_ms` (wall clock, UTC epoch ms), with faults of values applied.

    `shape` is None or one of the dialect's `shapes`; `stamp_shift_ms` shifts the timestamps of the envelope. `refill` has the times from and until
    which REST has an instrument's trades.
    """

    market: Market
    price_view: PriceView
    quotes: list[Quote]
    now_ms: int
    usage: Usage
    trades: TradeBook
    refill: Callable[[Instrument], RefillSpan]
    shape: str | None = None
    stamp_shift_ms: int = 0


@dataclass(slots=True)
class Answer:
    """A response before transport faults: a JSON value, or bytes that are sent verbatim.

    `prices` maps the provider's asset id, as in the asset table, to the price exactly as in the body.
    """

    status: int
    body: Any
    endpoint: str
    prices: dict[str, object] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    credits: int = 0
    refilled: tuple[Instrument, list[Trade]] | None = None
    """The trades in the body, for the ledger."""


class Dialect(Protocol):
    """Paths, shapes, headers and errors of a provider."""

    name: str
    price_view: PriceView
    shapes: tuple[str, ...]
    """Other known response shapes of the provider, for the `shape_version` fault."""
    price_key: str
    """Key of the price, for the `duplicate_keys` fault."""
    bans: bool = False
    """Whether clients that continue after refusals are banned."""

    def weight(self, request: Request) -> int:
        """Weight of the call for the limit per minute; 1 unless the provider weighs its calls."""
        del request
        return 1

    def answer(self, request: Request, view: View) -> Answer:
        """The provider's answer, including errors."""

    def error(self, request: Request, status: int, view: View, code: int | None = None, retry_after_s: int | None = None) -> Answer:
        """The provider's error response for `status`; `code` replaces its default error code."""

    def limited(self, request: Request, view: View, *, month: bool) -> Answer:
        """The provider's answer to a client over its minute or month limit."""


def whole_number(text: str | None) -> int | None:
    """Parse up to 18 ASCII digits; None for anything else, so that no input can raise or take long."""
    return int(text) if text and _DIGITS.fullmatch(text) else None


def served_price(quote: Quote, price: float) -> object:
    """The price for the body: the number, or a fault's value."""
    return price if quote.served is None else quote.served(price)


def price_text(quote: Quote, price: float, decimals: int) -> object:
    """As `served_price`, for providers that send prices as strings: a fault's value is a string too, unless it is literal."""
    value = served_price(quote, round(price, decimals))
    if quote.literal or not isinstance(value, int | float):
        return value
    return fixed(value, decimals) if math.isfinite(value) else json.dumps(float(value))


def fixed(value: float, decimals: int) -> str:
    """The number as a string with exactly `decimals` decimals."""
    return f"{round(value, decimals):.{decimals}f}"


def listed(view: View) -> dict[str, Quote]:
    """The coins listed by an exchange (those with an id in the asset table), by its id."""
    found = ((quote.coin.listing(view.price_view.provider), quote) for quote in view.quotes)
    return {provider_id: quote for provider_id, quote in found if provider_id is not None}


def listed_coins(view: View) -> dict[str, ReplayedCoin]:
    """As `listed`, including coins omitted by a fault."""
    found = ((coin.listing(view.price_view.provider), coin) for coin in view.market.coins)
    return {provider_id: coin for provider_id, coin in found if provider_id is not None}


def ranks_by(view: View, cap: Callable[[Quote], float]) -> dict[str, int]:
    """Ranks from 1 of the replayed coins by market cap, by asset id."""
    ordered = sorted(view.quotes, key=cap, reverse=True)
    return {quote.coin.asset.asset_id: rank for rank, quote in enumerate(ordered, start=1)}


def finish_row(row: Row, quote: Quote) -> Row:
    """Apply faults to the row: numbers become strings, or strings become numbers."""
    result: Row = row
    if quote.as_strings:
        result = _map_numbers(result, str)
    if quote.bare:
        result = _bare_numbers(result)
    return result


def _bare_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bare_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_bare_numbers(item) for item in value]
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return float(value)
    return value


def _map_numbers(value: Any, change: Callable[[float], object]) -> Any:
    if isinstance(value, dict):
        return {key: _map_numbers(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_map_numbers(item, change) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return change(value)
    return value
