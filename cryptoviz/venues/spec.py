"""`VenueSpec`: the facts of one venue, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cryptoviz.addresses import require_parts, require_visible
from cryptoviz.errors import SpecError
from cryptoviz.providers.plan import Plan
from cryptoviz.providers.spec import NAME

__all__ = ["Channel", "Instrument", "QuietRule", "RefillLimits", "StreamLimits", "VenueSpec"]


class Channel(StrEnum):
    """What a connection can subscribe to."""

    TRADES = "trades"
    QUOTES = "quotes"
    KLINES = "klines"
    """Of one minute."""


class QuietRule(StrEnum):
    """What a venue's candles say of an interval without trades."""

    ROW = "row"
    """A row with volume 0 and the last close as all four prices."""
    ABSENT = "absent"
    """No row."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """A market of a venue. `symbol` is the venue's own name of it; its prices are in `quote_currency`."""

    symbol: str
    asset_id: str
    quote_currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """Limits of connections, as documented, and how the end of one is noticed.

    Attributes:
        symbols_per_connection: the most that one connection should carry.
        messages_per_s: the most messages that a client may send on a connection, subscriptions and pings included.
        symbols_per_message: the most symbols in one subscription.
        connects, connects_per_s: at most so many new connections in that time, of one address.
        lifetime_s: the venue closes a connection of this age; None: it does not. Its successor is opened `overlap_s` before.
        alive_s: a connection without any frame, ping or heartbeat for this long is dead (half-open).
        ping_s: send `StreamSession.ping` this often; None: the venue sends pings, or heartbeats, itself.
        frame_bytes: the longest frame that is read. A longer one ends the connection.
    """

    symbols_per_connection: int
    messages_per_s: float
    symbols_per_message: int
    connects: int
    connects_per_s: float
    lifetime_s: float | None = None
    overlap_s: float = 60.0
    alive_s: float
    ping_s: float | None = None
    frame_bytes: int = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RefillLimits:
    """How trades are read over HTTP.

    Attributes:
        rows: in one response.
        weight: of a request, in the units of `plan`.
        plan: limits of the account, for the limiter. The provider of the same name counts towards the same limits if `shares` names it.
        min_interval_s: shortest time between two requests.
        shares: name of the provider whose limits at the host are the same; empty: none.
    """

    rows: int
    weight: int
    plan: Plan
    min_interval_s: float
    shares: str = ""


@dataclass(frozen=True, kw_only=True)
class VenueSpec:
    """All facts of a venue, without the code of its protocol.

    Attributes:
        name: in records, settings and component names (`stream/<name>`): as the names of providers.
        display_name: for people.
        stream_url: root of the WebSocket, wss:// or ws://, unless a setting replaces it.
        refill_url: root of the HTTP requests for refills, unless a setting replaces it.
        symbols: our asset ids -> the venue's symbols, of the same quote currency.
        quote: that currency.
        contiguous_ids: trade ids of a symbol are numbers that rise by 1. Without it no gap can be proved.
        quiet: candles of intervals without trades.
        channels: what it streams.
        limits, refill: see there.
    """

    name: str
    display_name: str
    stream_url: str
    refill_url: str
    symbols: Mapping[str, str]
    quote: str
    contiguous_ids: bool
    quiet: QuietRule
    channels: frozenset[Channel]
    limits: StreamLimits
    refill: RefillLimits

    def __post_init__(self) -> None:
        """Check the facts, so that a mistake is found where the module is imported.

        Raises:
            SpecError: `attribute`; the text has its value and what is valid.
        """
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name) or "__" in self.name:
            text = f"name is {self.name!r}: valid are up to 32 of a-z, 0-9, - and single _, the first a letter or digit"
            raise SpecError(text, provider=str(self.name), attribute="name")
        self._check_address("stream_url", self.stream_url, ("wss", "ws"))
        self._check_address("refill_url", self.refill_url, ("https", "http"))
        if len(set(self.symbols.values())) < len(self.symbols):
            raise self._error("symbols", "repeats a symbol: valid is a symbol of its own for each asset")
        if Channel.TRADES not in self.channels:
            raise self._error("channels", f"is {sorted(self.channels)}: valid is a set with trades")

    def instrument(self, asset_id: str) -> Instrument | None:
        """The venue's market of an asset; None if it has none in `symbols`."""
        symbol = self.symbols.get(asset_id)
        return None if symbol is None else Instrument(symbol, asset_id, self.quote)

    def instruments(self) -> list[Instrument]:
        """All of the venue's markets, as in `symbols`."""
        return [Instrument(symbol, asset_id, self.quote) for asset_id, symbol in self.symbols.items()]

    def _error(self, attribute: str, what: str) -> SpecError:
        return SpecError(f"{attribute} of {self.name} {what}", provider=self.name, attribute=attribute)

    def _check_address(self, attribute: str, root: str, schemes: tuple[str, ...]) -> None:
        try:
            require_visible(root)
            require_parts(root, schemes, path=True)
        except ValueError as error:
            raise self._error(attribute, f"is {root!r}: {error}") from None
