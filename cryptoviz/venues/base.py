"""`StreamVenue`: the extension point. A venue is one class that knows the protocol of one exchange; it opens no connection.

What a caller does with one:

1. `url(root)`, then `session(...)` for each connection; send each text of `StreamSession.subscribe()`, within `spec.limits`.
2. `StreamSession.parse(frame, now_us)` for each frame; events go to `cryptoviz.trades.gap_tracker`. `StreamSession.unacked` is compared with the time
   since the request: a symbol without an acknowledgement is an error of that symbol.
3. For an open gap: `refill(...)`, an HTTP GET, `parse_refill(...)`; the trades go to the same tracker; `RefillPage.next` until it is None.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import ClassVar

import msgspec

from cryptoviz.errors import FrameError
from cryptoviz.providers.response import HttpResponse
from cryptoviz.trades.id_runs import IdRun
from cryptoviz.trades.record import VALID_AMOUNT, Trade, TradeMaker, is_amount
from cryptoviz.venues.events import Acked, Event, Quote, Refused, VenueKline, Voided
from cryptoviz.venues.spec import Channel, Instrument, VenueSpec

__all__ = ["KlineCall", "RefillCall", "RefillPage", "StreamSession", "StreamVenue"]


@dataclass(frozen=True, slots=True)
class RefillCall:
    """An HTTP GET for missing trades.

    Attributes:
        path, query, headers: below `VenueSpec.refill_url`, or the setting that replaces it.
        instrument: whose trades.
        run: the numbers that this call and those that follow it are to bring.
        around_us: venue times of the trades around the gap (UTC epoch us); None if unknown.
        cursor: the venue's own note from one call to the next.
    """

    path: str
    query: Mapping[str, str]
    instrument: Instrument
    run: IdRun
    around_us: tuple[int | None, int | None] = (None, None)
    headers: Mapping[str, str] = field(default_factory=dict)
    cursor: int = 0


@dataclass(frozen=True, slots=True)
class RefillPage:
    """What an answer brought.

    Attributes:
        trades: all of the answer, in any order; some may lie outside the run.
        voided: ids of rows that are no trades.
        absent: runs within `RefillCall.run` that the answer proves to be gone, with a `PermanentReason`.
        next: the call for the rest of the run; None: there is no more to ask for. What is still missing then may exist later (the venue's
            history can lag behind its stream), so the gap stays open and is requested again.
    """

    trades: tuple[Trade, ...]
    voided: tuple[Voided, ...] = ()
    absent: tuple[tuple[IdRun, str], ...] = ()
    next: RefillCall | None = None


@dataclass(frozen=True, slots=True)
class KlineCall:
    """An HTTP GET for the venue's candles of a minute that begin in `[first_us, until_us)` (UTC epoch us), as `RefillCall`."""

    path: str
    query: Mapping[str, str]
    instrument: Instrument
    first_us: int
    until_us: int


class StreamSession(ABC):
    """The protocol of one connection: what to send, and what the received frames say. No input or output, and no clock.

    Attributes:
        unacked: requested (symbol, channel) that are neither acknowledged nor refused.
    """

    def __init__(self, spec: VenueSpec, instruments: Sequence[Instrument], channels: Collection[Channel], connection: str) -> None:
        self.spec = spec
        self.instruments: Mapping[str, Instrument] = {each.symbol: each for each in instruments}
        self._makers = {each.symbol: TradeMaker(spec.name, each.symbol, each.asset_id, each.quote_currency, connection) for each in instruments}
        self.channels = tuple(channel for channel in Channel if channel in channels and channel in spec.channels)
        self.connection = connection
        self.unacked: set[tuple[str, str]] = {(symbol, str(channel)) for symbol in self.instruments for channel in self.channels}

    @abstractmethod
    def subscribe(self) -> list[str]:
        """The text frames to send after the connection is open, in order; each counts towards `StreamLimits.messages_per_s`.

        For what is in `unacked`: a later call asks again for the rest, for venues that refuse a whole request for one of its symbols.
        """

    def ping(self) -> str | None:
        """The text frame to send every `StreamLimits.ping_s`; None if the venue needs none."""
        return None

    def parse(self, frame: bytes | str, ingest_us: int) -> list[Event]:
        """The events of one frame, in its order. `ingest_us`: when it arrived, UTC epoch us.

        Raises:
            FrameError: not the documented content. Nothing of the frame is used: its trades become a gap, which a refill closes.
        """
        try:
            events = self._events(frame.encode() if isinstance(frame, str) else frame, ingest_us)
        except msgspec.ValidationError as error:
            raise self.wrong("shape", str(error)) from None
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise self.wrong("not_json", f"{type(error).__name__}: {error}") from None
        except ValueError as error:
            raise self.wrong("value", str(error)) from None
        for event in events:
            if isinstance(event, Acked | Refused):
                self.unacked.discard((event.symbol, event.channel))
        return events

    @abstractmethod
    def _events(self, frame: bytes, ingest_us: int) -> list[Event]:
        """As `parse`, which translates the errors of msgspec."""

    def _unacked_by_channel(self) -> list[tuple[Channel, list[str]]]:
        """The symbols that are to be requested, in the order of the instruments, in parts of `StreamLimits.symbols_per_message`."""
        size = self.spec.limits.symbols_per_message
        found: list[tuple[Channel, list[str]]] = []
        for channel in self.channels:
            symbols = [symbol for symbol in self.instruments if (symbol, str(channel)) in self.unacked]
            found += [(channel, symbols[start : start + size]) for start in range(0, len(symbols), size)]
        return found

    def _trade(
        self, instrument: Instrument, number: int, price: str, size: str, side: str, venue_us: int | None, ingest_us: int, sequence: int | None = None
    ) -> Trade:
        """A trade of the stream. Raises `FrameError` if price or size is not valid."""
        if not (is_amount(price) and is_amount(size)):
            raise self.wrong(
                "value", f"price {price[:40]!r} and size {size[:40]!r} of trade {number} of {instrument.symbol}: valid is {VALID_AMOUNT}"
            )
        return self._makers[instrument.symbol].make(number, price, size, side, venue_us, ingest_us, sequence)

    def _checked_quote(
        self, symbol: str, bid: str, bid_size: str, ask: str, ask_size: str, venue_us: int | None, ingest_us: int, sequence: int | None = None
    ) -> Quote:
        """A best bid and ask. Raises `FrameError` with the reason `quote` if an amount is 0 or not valid, or the bid is above the ask."""
        if not (is_amount(bid) and is_amount(bid_size) and is_amount(ask) and is_amount(ask_size)):
            what = f"each of price and size {VALID_AMOUNT}"
        elif Decimal(bid) > Decimal(ask):
            what = "a bid that is not above the ask"
        else:
            return Quote(symbol, bid, bid_size, ask, ask_size, venue_us, ingest_us, sequence)
        raise self.wrong("quote", f"quote of {symbol}: bid {bid[:24]!r} x {bid_size[:24]!r}, ask {ask[:24]!r} x {ask_size[:24]!r}; valid is {what}")

    def _quotes_of(self, parse: Callable[[bytes, int], list[Event]], frame: bytes, ingest_us: int) -> list[Event]:
        """As `parse`, of a frame of quotes only. Raises `FrameError` with the reason `quote`, whatever is wrong: no trade is in it."""
        try:
            return parse(frame, ingest_us)
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            raise self.wrong("quote", f"a quote: {error}") from None

    def wrong(self, reason: str, what: str) -> FrameError:
        """The error of a frame; `reason` as in `FrameError`."""
        return FrameError(f"{self.spec.name}: a frame is not as documented: {what[:200]}", venue=self.spec.name, reason=reason)


class StreamVenue(ABC):
    """One exchange with a stream of trades.

    Subclass it, set `spec`, implement the abstract methods, and register the class: built-ins in `cryptoviz.venues.registry`, others as an entry
    point of the group `cryptoviz.venues`. Objects have no state.

    Attributes:
        spec: the facts of the venue.
    """

    spec: ClassVar[VenueSpec]

    def url(self, root: str = "") -> str:
        """Address to connect to. `root`: a setting that replaces `spec.stream_url`, such as the replay market's."""
        return root or self.spec.stream_url

    @abstractmethod
    def session(self, instruments: Sequence[Instrument], channels: Collection[Channel], connection: str) -> StreamSession:
        """The protocol of a new connection; `connection` is its id in trade records."""

    @abstractmethod
    def refill(self, instrument: Instrument, run: IdRun, around_us: tuple[int | None, int | None] = (None, None)) -> RefillCall | None:
        """The first call for the trades `run`, in a gap between trades with the venue times `around_us`.

        None: the venue cannot find them, because it searches by a time that is not known (`PermanentReason.NO_TIME`).
        """

    @abstractmethod
    def parse_refill(self, response: HttpResponse, call: RefillCall) -> RefillPage:
        """The trades of a response. They have `source` refill, and the response's `fetch_id` as `connection`.

        Raises:
            ProviderUnavailable, ProviderRefused, BadPayload: no trades; `reason` and `retry_after_s` as for a provider.
        """

    def klines(self, instrument: Instrument, first_us: int, until_us: int) -> KlineCall | None:
        """The call for candles of whole, closed minutes, at most 100 of them; None: the venue has none, and ours cannot be checked."""
        del instrument, first_us, until_us
        return None

    def parse_klines(self, response: HttpResponse, call: KlineCall) -> Sequence[VenueKline]:
        """The candles of the call's minutes in a response; raises as `parse_refill`."""
        raise NotImplementedError
