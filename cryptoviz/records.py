"""Records exchanged between processes: observations, raw exchanges and unified records.

Times are UTC epoch milliseconds here and in JSON, `timestamp[us, UTC]` in Parquet. Unknown is None, never 0.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

import orjson

__all__ = [
    "DOLLAR",
    "DOLLARS",
    "DOLLAR_COINS",
    "FIRST_TRADE_MS",
    "SCHEMA_VERSION",
    "Call",
    "FallbackReason",
    "Kind",
    "Observation",
    "PollTrace",
    "RawExchange",
    "Role",
    "TickResult",
    "UnifiedRecord",
    "event_id",
]

DOLLAR = "USD"
DOLLAR_COINS = frozenset({"USDT", "USDC", "FDUSD", "TUSD", "BUSD", "RLUSD", "AUSD", "PYUSD", "USDP", "USDG", "USD1"})
"""Dollar stablecoins. A record keeps its actual quote currency."""
DOLLARS = DOLLAR_COINS | {DOLLAR}


SCHEMA_VERSION = 1
FIRST_TRADE_MS = 1_230_768_000_000
"""2009-01-01 UTC, before the first price of any coin: the lower bound of `tick_ts` and of providers' times. An epoch in seconds read as milliseconds
is earlier than this.
"""


class Kind(StrEnum):
    """Origin of a row."""

    LIVE = "live"
    BACKFILL = "backfill"


class Role(StrEnum):
    """Whether the price is from the primary provider."""

    PRIMARY = "primary"
    FALLBACK = "fallback"


class FallbackReason(StrEnum):
    """Why the primary provider's price was not used."""

    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    AUTH = "auth"
    UNAVAILABLE = "unavailable"
    BAD_PAYLOAD = "bad_payload"
    MISSING_ASSET = "missing_asset"
    STALE = "stale"
    OUTLIER = "outlier"
    BREAKER_OPEN = "breaker_open"


@dataclass(frozen=True, slots=True)
class Observation:
    """One provider's values for one asset at one tick. `price` is finite and > 0; values are in `quote_currency`, changes in percent."""

    asset_id: str
    provider: str
    provider_asset_id: str
    price: float
    quote_currency: str = "USD"
    source_ts: int | None = None
    market_cap: float | None = None
    volume_24h: float | None = None
    high_24h: float | None = None
    low_24h: float | None = None
    change_1h_pct: float | None = None
    change_24h_pct: float | None = None
    change_7d_pct: float | None = None
    circulating_supply: float | None = None
    total_supply: float | None = None
    max_supply: float | None = None
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class RawExchange:
    """An HTTP request and its response or failure, as in `crypto-raw-data`. `body` is as received (text, at most 1 MiB), with secrets masked.

    `outcome` is `ok` or a `FallbackReason`; `status` is None without a response.
    """

    fetch_id: str
    provider: str
    endpoint: str
    tick_ts: int
    started_ts: int
    finished_ts: int
    status: int | None
    outcome: str
    error: str | None
    rate_limit_headers: dict[str, str]
    attempt: int
    body: str | None

    def to_json(self) -> bytes:
        """One line of UTF-8 JSON with a final newline."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a poll, recorded for replays.

    Attributes:
        fetch_id: id of the raw exchange; empty if the call was not sent, with `endpoint` and `outcome` (a `FallbackReason`) set instead.
        whole: the body was parsed, and the raw exchange contains all of it.
    """

    attempt: int
    fetch_id: str = ""
    whole: bool = False
    endpoint: str = ""
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class PollTrace:
    """Trace of a poll, recorded for replays.

    Attributes:
        calls: calls in the order in which they ended.
        memory: state of the provider object before the poll that affects the result, as JSON.
        cut: the poll timed out.
    """

    calls: tuple[Call, ...] = ()
    memory: Any = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class TickResult:
    """Result of a scraper for one tick: prices, or why there are none.

    Attributes:
        ingest_ts: when the response was complete (UTC epoch ms).
        asset_failures: failures of single coins in an otherwise good response.
        failure: failure of the whole poll.
        fetch_ids: raw exchange by asset, for prices that are not from `fetch_id`, if a poll takes several calls.
        due: False if the tick was no turn of the provider: not a failure, and nothing to wait for.
        trace: None if the provider was not polled.
        retry_after_s: wait that the provider imposes with `failure`.
        traceparent: context of the poll's span; empty when tracing is off.
        parts: results of the provider's shards in their order (`cryptoviz.shards`); empty if it has one scraper.
    """

    provider: str
    tick_ts: int
    fetch_id: str
    attempt: int
    ingest_ts: int
    observations: dict[str, Observation] = field(default_factory=dict)
    asset_failures: dict[str, FallbackReason] = field(default_factory=dict)
    failure: FallbackReason | None = None
    message: str = ""
    fetch_ids: dict[str, str] = field(default_factory=dict)
    due: bool = True
    trace: PollTrace | None = None
    retry_after_s: float | None = None
    traceparent: str = ""
    parts: tuple[TickResult, ...] = ()

    def source_of(self, asset_id: str) -> TickResult:
        """The part that has the asset's price, with its own attempt and time; this result if it has no parts."""
        return next((part for part in self.parts if asset_id in part.observations), self)


@dataclass(frozen=True, slots=True)
class UnifiedRecord:
    """The row of an asset and tick: the value in `crypto-streaming` and the row of the prices table, with fields in this order."""

    event_id: str
    schema_version: int
    kind: str
    tick_ts: int
    source_ts: int | None
    ingest_ts: int
    asset_id: str
    symbol: str
    name: str
    quote_currency: str
    price: float
    market_cap: float | None
    volume_24h: float | None
    high_24h: float | None
    low_24h: float | None
    change_1h_pct: float | None
    change_24h_pct: float | None
    change_7d_pct: float | None
    circulating_supply: float | None
    total_supply: float | None
    max_supply: float | None
    rank: int | None
    provider: str
    provider_asset_id: str
    role: str
    fallback_reason: str | None
    attempt: int
    fetch_id: str
    consensus_price: float | None
    consensus_sources: int
    spread_bps: float | None
    disagrees: bool

    def to_json(self) -> bytes:
        """One line of UTF-8 JSON with a final newline, so that concatenated values are NDJSON."""
        return orjson.dumps(self, option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def from_json(cls, value: bytes) -> UnifiedRecord:
        """Parse the output of `to_json`. Unknown fields are ignored.

        Raises:
            ValueError: not JSON, not an object, or a field is missing.
        """
        data: Any = orjson.loads(value)
        if not isinstance(data, dict):
            raise ValueError(f"a unified record is a JSON object, received {type(data).__name__}")
        try:
            return cls(**{f.name: data[f.name] for f in fields(cls)})
        except KeyError as error:
            raise ValueError(f"a unified record needs the field {error.args[0]!r}") from None


def event_id(asset_id: str, tick_ts: int, kind: str) -> str:
    """Identity of a row: hash of (asset_id, tick_ts, kind) as 32 hex digits, equal for each retry."""
    return hashlib.blake2b(f"{asset_id}\x00{tick_ts}\x00{kind}".encode(), digest_size=16).hexdigest()
