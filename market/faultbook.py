"""The active faults, with their providers, durations and counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cryptoviz.errors import TerminalError
from market.coins import ReplayedCoin
from market.dialects import DIALECTS
from market.faults import FAULT_KINDS, CoinParameters, Parameters, ShapeVersion
from market.quotes import Quote
from market.stream_faults import STREAM_FAULT_KINDS, ActionParameters, StreamParameters, TradeIdJump, TradeParameters

__all__ = ["ALL_KINDS", "ActiveFault", "BadFault", "FaultBook", "latest", "valid_faults"]

ANY_PROVIDER = "*"
_MAX_ACTIVE = 1_000
"""Far above any test's need; bounds the memory that a faulty script can use."""

ALL_KINDS: Mapping[str, type[Parameters]] = FAULT_KINDS | STREAM_FAULT_KINDS

P = TypeVar("P", bound=Parameters)


class BadFault(TerminalError):
    """Unknown fault or invalid parameters; the message lists the valid values."""


class _FaultRequest(BaseModel):
    """The JSON of `POST /_market/faults`."""

    model_config = ConfigDict(extra="forbid")

    provider: str
    kind: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    duration_s: float | None = Field(default=None, gt=0, le=10**7)
    """None: until deleted."""
    count: int | None = Field(default=None, ge=1)
    """Number of requests, or of trades, to affect; None: unlimited."""
    every: int = Field(default=1, ge=1, le=1_000_000)
    """Affect only every n-th request of the provider, or every n-th trade, starting with the next."""


@dataclass(slots=True)
class ActiveFault:
    """An active fault. `expires_s` is in monotonic seconds; `ended` is set when it is deleted."""

    fault_id: int
    provider: str
    kind: str
    parameters: Parameters
    asset_ids: frozenset[str]
    expires_s: float | None
    count: int | None
    every: int = 1
    seen: int = 0
    hits: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def over(self, now_s: float) -> bool:
        """Whether its duration or count is exhausted."""
        return (self.expires_s is not None and now_s >= self.expires_s) or (self.count is not None and self.hits >= self.count)

    def describe(self, now_s: float) -> dict[str, Any]:
        """The entry of `GET /_market/faults`."""
        remaining = None if self.expires_s is None else round(max(0.0, self.expires_s - now_s), 3)
        return {
            "id": self.fault_id,
            "provider": self.provider,
            "kind": self.kind,
            "parameters": self.parameters.model_dump(),
            "remaining_s": remaining,
            "count": self.count,
            "every": self.every,
            "hits": self.hits,
        }

    def meets(self, provider: str) -> bool:
        """Whether the fault affects this request of a provider. Counts the request."""
        if self.provider not in (provider, ANY_PROVIDER):
            return False
        self.seen += 1
        if (self.seen - 1) % self.every:
            return False
        self.hits += 1
        return True

    def apply(self, quotes: list[Quote]) -> list[Quote]:
        """The quotes, changed if this is a fault of values."""
        if not isinstance(self.parameters, CoinParameters):
            return quotes
        changed = (self.parameters.apply(quote) if self._hits(quote) else quote for quote in quotes)
        return [quote for quote in changed if quote is not None]

    def _hits(self, quote: Quote) -> bool:
        return not self.asset_ids or quote.coin.asset.asset_id in self.asset_ids


class FaultBook:
    """The active faults. One event loop only.

    Args:
        symbols: the symbols of each venue with a stream.

    Attributes:
        on_end: called with each fault that is deleted before its time.
    """

    def __init__(self, coins: Iterable[ReplayedCoin], symbols: Mapping[str, Collection[str]] | None = None) -> None:
        self._symbols = symbols or {}
        self.on_end: Callable[[ActiveFault], None] | None = None
        self._names = {name.lower(): coin.asset.asset_id for coin in coins for name in _names_of(coin)}
        self._faults: list[ActiveFault] = []
        self._last_id = 0

    def add(self, payload: object, now_s: float) -> ActiveFault:
        """Start a fault.

        Raises:
            BadFault: the payload is invalid; the message lists the valid values.
        """
        try:
            asked = _FaultRequest.model_validate(payload)
            if asked.kind not in ALL_KINDS:
                raise BadFault(f"unknown kind {asked.kind!r}; valid: {', '.join(ALL_KINDS)}")
            parameters = ALL_KINDS[asked.kind].model_validate(asked.parameters)
        except ValidationError as error:
            raise BadFault("; ".join(f"{'.'.join(map(str, issue['loc'])) or 'body'}: {issue['msg']}" for issue in error.errors())) from error
        if asked.provider != ANY_PROVIDER and asked.provider not in DIALECTS:
            raise BadFault(f"unknown provider {asked.provider!r}; valid: {', '.join(DIALECTS)}, and {ANY_PROVIDER} for all")
        if isinstance(parameters, ShapeVersion):
            _check_shape(asked.provider, parameters.shape)
        if isinstance(parameters, StreamParameters):
            self._check_stream(asked, parameters)
        if len(self._active(now_s)) >= _MAX_ACTIVE:
            raise BadFault(f"{_MAX_ACTIVE} faults are already active; delete some first")
        self._last_id += 1
        expires_s = None if asked.duration_s is None else now_s + asked.duration_s
        fault = ActiveFault(self._last_id, asked.provider, asked.kind, parameters, self._assets(parameters), expires_s, asked.count, asked.every)
        if isinstance(parameters, ActionParameters | TradeIdJump):  # done at once
            fault.count, fault.hits = 1, 1
        self._faults.append(fault)
        return fault

    def take(self, provider: str, now_s: float) -> list[ActiveFault]:
        """The faults that affect a current request, oldest first; each counts a hit."""
        return [fault for fault in self._active(now_s) if not isinstance(fault.parameters, StreamParameters) and fault.meets(provider)]

    def peek(self, provider: str, now_s: float) -> list[ActiveFault]:
        """The active faults of a provider, oldest first; counts nothing."""
        return [fault for fault in self._active(now_s) if fault.provider in (provider, ANY_PROVIDER)] if self._faults else []

    def active(self, now_s: float) -> list[dict[str, Any]]:
        """The entries of all active faults."""
        return [fault.describe(now_s) for fault in self._active(now_s)]

    def clear(self, provider: str | None = None, fault_id: int | None = None) -> int:
        """End the faults of a provider, the fault with an id, or all faults; return their number."""
        gone = [fault for fault in self._faults if provider in (None, fault.provider) and fault_id in (None, fault.fault_id)]
        self._faults = [fault for fault in self._faults if fault not in gone]
        for fault in gone:
            fault.ended.set()
            if self.on_end is not None:
                self.on_end(fault)
        return len(gone)

    def _active(self, now_s: float) -> list[ActiveFault]:
        self._faults = [fault for fault in self._faults if not fault.over(now_s)]
        return self._faults

    def _check_stream(self, asked: _FaultRequest, parameters: StreamParameters) -> None:
        if asked.provider != ANY_PROVIDER and asked.provider not in self._symbols:
            raise BadFault(
                f"{asked.provider} has no stream in the market; valid for {asked.kind}: {', '.join(self._symbols)}, and {ANY_PROVIDER} for all"
            )
        known = {symbol for venue, symbols in self._symbols.items() if asked.provider in (venue, ANY_PROVIDER) for symbol in symbols}
        if unknown := [symbol for symbol in parameters.symbols if symbol not in known]:
            raise BadFault(f"unknown symbols {', '.join(unknown)}; valid: {', '.join(sorted(known))}")
        if not isinstance(parameters, TradeParameters) and (asked.count is not None or asked.every != 1):
            raise BadFault(f"{asked.kind} does not count trades: it takes duration_s, but neither count nor every")

    def _assets(self, parameters: Parameters) -> frozenset[str]:
        if not isinstance(parameters, CoinParameters):
            return frozenset()
        unknown = [name for name in parameters.coins if name.lower() not in self._names]
        if unknown:
            raise BadFault(
                f"unknown coins {', '.join(unknown)}; valid: {', '.join(sorted(set(self._names.values())))}, their symbols and provider ids"
            )
        return frozenset(self._names[name.lower()] for name in parameters.coins)


def latest(faults: Sequence[ActiveFault], kind: type[P]) -> P | None:
    """The parameters of the newest fault of a kind."""
    return next((fault.parameters for fault in reversed(faults) if isinstance(fault.parameters, kind)), None)


def valid_faults() -> Mapping[str, Any]:
    """Valid values of `POST /_market/faults`: providers with their shapes, kinds with their parameters."""
    return {
        "providers": {name: {"shapes": dialect.shapes} for name, dialect in DIALECTS.items()} | {ANY_PROVIDER: {}},
        "kinds": {
            kind: {"effect": (model.__doc__ or "").strip(), "parameters": model.model_json_schema().get("properties", {})}
            for kind, model in ALL_KINDS.items()
        },
        "duration_s": "seconds; absent: until deleted",
        "count": "number of requests, or of trades; absent: unlimited",
        "every": "every n-th request of the provider, or every n-th trade; absent: 1",
    }


def _names_of(coin: ReplayedCoin) -> tuple[str, ...]:
    return (coin.asset.asset_id, coin.asset.symbol, *coin.asset.provider_ids.values())


def _check_shape(provider: str, shape: str) -> None:
    valid = sorted({known for name, dialect in DIALECTS.items() if provider in (name, ANY_PROVIDER) for known in dialect.shapes})
    if shape not in valid:
        raise BadFault(f"unknown shape {shape!r} of {provider}; valid: {', '.join(valid)}")
