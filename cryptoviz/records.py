"""The records that cross process borders: observations, raw exchanges, unified records, and their lake columns.

Times are UTC epoch milliseconds here and in JSON, `timestamp[us, UTC]` in Parquet. Unknown is None, never 0.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

import orjson

__all__ = [
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

SCHEMA_VERSION = 1
FIRST_TRADE_MS = 1_230_768_000_000
"""2009-01-01 UTC: no coin had a price before. An epoch in seconds that was read as milliseconds lies before it."""


class Kind(StrEnum):
    """How a row came to be."""

    LIVE = "live"
    BACKFILL = "backfill"


class Role(StrEnum):
    """Whether the price is the preferred provider's."""

    PRIMARY = "primary"
    FALLBACK = "fallback"


class FallbackReason(StrEnum):
    """Why the primary provider's price was not taken."""

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
    """One HTTP exchange, good or bad, as `crypto-raw-data` carries it. `body` is as received (at most 1 MiB, text), secrets removed.

    `outcome` is `ok` or a `FallbackReason`; `status` is None when no response came.
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
        """One line of UTF-8 JSON that ends in a newline."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a poll, so that a replay can make it again.

    Attributes:
        fetch_id: its raw exchange; empty when it was never sent, and then `endpoint` and `outcome` (a `FallbackReason`) say what became of it.
        whole: the parser was given the body, and the raw exchange has all of it.
    """

    attempt: int
    fetch_id: str = ""
    whole: bool = False
    endpoint: str = ""
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class PollTrace:
    """What a poll did.

    Attributes:
        calls: in the order in which they ended.
        memory: what the provider knew before the poll and its answers do not say, as JSON.
        cut: the poll's time was over before the provider was ready.
    """

    calls: tuple[Call, ...] = ()
    memory: Any = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class TickResult:
    """What one scraper hands the collector for one tick: prices, or why there are none.

    `failure` concerns the whole answer; `asset_failures` single coins of an answer that was otherwise good. `ingest_ts` is when the response was
    complete (UTC epoch ms). `fetch_ids` names the exchange of each asset whose price did not come with `fetch_id`, where a tick took several calls.
    With `due` False the provider was not to be asked on this tick: no failure, and nothing to wait for. `trace` is None when it was not asked.
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


@dataclass(frozen=True, slots=True)
class UnifiedRecord:
    """One row for one asset and tick: the value of `crypto-streaming` and the row of the prices table. Fields in the order of the topic."""

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
        """One line of UTF-8 JSON that ends in a newline, so that concatenated values are NDJSON."""
        return orjson.dumps(self, option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def from_json(cls, value: bytes) -> UnifiedRecord:
        """Read what `to_json` wrote. Fields this version does not know are ignored.

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
    """32 hex digits over (asset_id, tick_ts, kind): the identity of a row, the same for each retry."""
    return hashlib.blake2b(f"{asset_id}\x00{tick_ts}\x00{kind}".encode(), digest_size=16).hexdigest()
