"""Settings of the trade streams (docs/streams.md)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from cryptoviz.settings.protection import Duration
from cryptoviz.settings.secret_types import HttpUrl, SecretUrl, StreamUrl

__all__ = ["StreamVenueSettings", "StreamsSettings"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


class StreamVenueSettings(_Section):
    """Addresses of a venue."""

    stream_url: StreamUrl = SecretUrl("")
    """WebSocket. Empty: that of the venue."""
    refill_url: HttpUrl = SecretUrl("")
    """HTTP, for trades that the stream missed. Empty: that of the venue."""


class StreamsSettings(_Section):
    """Trade streams of exchanges. Off unless `venues` names one."""

    venues: tuple[str, ...] = ()
    """Exchanges whose trades are recorded: `binance`, `kraken`, `coinbase`."""
    instruments: tuple[str, ...] = ()
    """Coins whose trades are recorded, by id or symbol. Empty: those that are collected."""
    shards: int = Field(default=1, ge=1, le=64)
    """Actors of a venue, which share its instruments."""
    venue: dict[str, StreamVenueSettings] = Field(default_factory=dict)
    """By venue."""
    publish_ms: int = Field(default=20, ge=0, le=10_000)
    """Time for which trades are gathered into one Kafka transaction."""
    queue_trades: int = Field(default=50_000, ge=100, le=10_000_000)
    """Trades of an actor that wait for Kafka. Above it the connection is closed, and what it misses is read over HTTP later."""
    connect_timeout_s: Duration = Field(default=10.0, gt=0)
    max_back_off_s: Duration = Field(default=30.0, gt=0)
    """Longest wait between two attempts to connect or to refill."""
    silent_s: Duration = Field(default=60.0, gt=0)
    """A connection without a trade for this time is replaced, whatever its heartbeats say; then after twice as long, and so on."""

    @property
    def on(self) -> bool:
        return bool(self.venues)
