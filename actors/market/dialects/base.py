"""What the server asks of a provider's dialect. A dialect is pure: request and view in, answer out; no sockets, no clock of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from actors.market.quotes import Market, Quote, Sight

__all__ = ["Answer", "Dialect", "Request", "Usage", "View", "finish_row", "iso_ms", "served_price", "whole_number"]

_DIGITS = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `path` starts behind the provider's base URL; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a client has used and may use: calls in this minute, credits in this month."""

    minute_limit: int
    minute_used: int
    month_limit: int
    month_used: int


@dataclass(frozen=True, slots=True)
class View:
    """The market as one provider shows it at `now_ms` (wall clock, UTC epoch ms), faults of the values already in it.

    `shape` is None or one of the dialect's `shapes`; `stamp_shift_ms` moves the stamps of the envelope.
    """

    market: Market
    sight: Sight
    quotes: list[Quote]
    now_ms: int
    usage: Usage
    shape: str | None = None
    stamp_shift_ms: int = 0


@dataclass(slots=True)
class Answer:
    """A response before transport faults. `prices` maps the provider's asset id to the price exactly as it stands in the body."""

    status: int
    body: Any
    endpoint: str
    prices: dict[str, object] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    credits: int = 0


class Dialect(Protocol):
    """One provider's paths, shapes, headers and errors."""

    name: str
    sight: Sight
    shapes: tuple[str, ...]
    """Other shapes the provider is known to answer in, for the `shape_version` fault."""

    def answer(self, request: Request, view: View) -> Answer:
        """The provider's own answer, errors included."""
        ...

    def error(self, request: Request, status: int, view: View, code: int | None = None, retry_after_s: int | None = None) -> Answer:
        """The body with which the provider says `status`; `code` overrides its usual error code."""
        ...

    def limited(self, request: Request, view: View, *, month: bool) -> Answer:
        """The provider's answer to a client that is over its minute or month limit."""
        ...


def iso_ms(epoch_ms: int) -> str:
    """ISO-8601 with milliseconds and Z, as both aggregators write times."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def whole_number(text: str | None) -> int | None:
    """A number of up to 18 ASCII digits; None for anything else, so that no digit string can raise or take long."""
    return int(text) if text and _DIGITS.fullmatch(text) else None


def served_price(quote: Quote, price: float) -> object:
    """The price as it goes into the body: the number, or what a fault makes of it."""
    return price if quote.served is None else quote.served(price)


def finish_row(row: dict[str, Any], quote: Quote) -> dict[str, Any]:
    """The row as served: numbers become strings when a fault says so."""
    result: dict[str, Any] = _map_numbers(row, str) if quote.as_strings else row
    return result


def _map_numbers(value: Any, change: Callable[[float], object]) -> Any:
    if isinstance(value, dict):
        return {key: _map_numbers(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_map_numbers(item, change) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return change(value)
    return value
