"""Settings of the trade streams (docs/streams.md)."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cryptoviz.addresses import LOOPBACK
from cryptoviz.errors import SettingsError
from cryptoviz.nearest import did_you_mean
from cryptoviz.settings.protection import Duration
from cryptoviz.settings.secret_types import HttpUrl, SecretUrl, StreamUrl

if TYPE_CHECKING:
    from cryptoviz.settings.tree import Settings

__all__ = ["RawFrames", "StreamVenueSettings", "StreamsSettings", "check_streams", "stream_addresses"]


LEAST_QUOTE_S = 0.1
"""Five transactions of trades by default: a shorter interval is a stream of its own."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


class RawFrames(StrEnum):
    """Which frames of the venues are recorded as they are."""

    OFF = "off"
    SAMPLE = "sample"
    """The first minute of each connection, and one minute out of `raw_sample_min`."""
    ALL = "all"


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
    check_s: Duration = Field(default=60.0, ge=0)
    """Every so often a stream reads closed candles of one of its instruments from the venue, to compare ours with them. 0: never."""

    quote_s: Duration = Field(default=0.0, ge=0)
    """Every so often the best bid and ask of each instrument is recorded, if it has changed. 0: never, and none is received. Off by default: a venue
    sends each change at the top of its book, and each costs as much to read as a trade, however seldom one is recorded."""

    raw: RawFrames = RawFrames.OFF
    """Frames that are recorded as they arrive, to be replayed."""
    raw_sample_min: int = Field(default=15, ge=2, le=1_440)
    """With `sample`, one minute out of so many is recorded, by UTC, beside the first minute of each connection."""
    raw_keep_hours: int = Field(default=24, ge=1, le=876_000)
    """Retention of a new topic of frames; in the embedded broker also `kafka.retention_bytes`."""

    @property
    def on(self) -> bool:
        return bool(self.venues)

    @property
    def quotes(self) -> bool:
        """Whether quotes are recorded."""
        return self.on and self.quote_s > 0

    @property
    def raw_frames(self) -> bool:
        """Whether frames are recorded."""
        return self.on and self.raw is not RawFrames.OFF

    @field_validator("quote_s")
    @classmethod
    def _seldom_enough(cls, value: float) -> float:
        if 0 < value < LEAST_QUOTE_S:
            raise ValueError(f"valid are 0, and {LEAST_QUOTE_S:g} or more")
        return value


def check_streams(settings: Settings) -> None:
    """Check the venues and the coins of the streams. The code of venues is imported only if there are streams.

    Raises:
        SettingsError: contains the setting, its value and what is valid.
    """
    own = settings.streams
    if not own.on and not own.venue:
        return
    from cryptoviz.venues.registry import known_venues, venue_of

    setting = "CRYPTOVIZ_STREAMS__VENUES"
    for name in own.venues:
        if own.venues.count(name) > 1:
            raise SettingsError(f"{setting} contains {name!r} more than once", setting=setting)
    for where, names in ((setting, own.venues), ("CRYPTOVIZ_STREAMS__VENUE", own.venue)):
        for name in names:
            if name not in known_venues():
                text = f"{where} contains {name[:64]!r}{did_you_mean(name, known_venues())}: valid are {', '.join(known_venues())}"
                raise SettingsError(text, setting=where)
    chosen = settings.find_assets(own.instruments) if own.instruments else settings.assets
    for name in own.venues:
        listed = sum(venue_of(name).spec.instrument(asset.asset_id) is not None for asset in chosen)
        if not listed:
            text = f"{setting} contains {name!r}, which has none of the coins {', '.join(asset.symbol for asset in chosen)[:200]}"
            raise SettingsError(f"{text}: valid is a coin of the venue in CRYPTOVIZ_STREAMS__INSTRUMENTS", setting=setting)
        if listed < own.shards:
            text = f"CRYPTOVIZ_STREAMS__SHARDS is {own.shards}, and {name} has {listed} of the coins: valid is at most as many"
            raise SettingsError(text, setting="CRYPTOVIZ_STREAMS__SHARDS", settings=("CRYPTOVIZ_STREAMS__SHARDS", setting))


def stream_addresses(name: str, settings: Settings) -> dict[str, str]:
    """Addresses of a venue at the replay market: below its name, with the path of the venue's own address."""
    from cryptoviz.venues.registry import known_venues, venue_of

    host = f"{LOOPBACK}:{settings.market.port}/{name}"
    path = urlsplit(venue_of(name).spec.stream_url).path.rstrip("/") if name in known_venues() else ""
    return {"stream_url": f"ws://{host}{path}", "refill_url": f"http://{host}"}
