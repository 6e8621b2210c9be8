"""Interface of a venue's stream protocol: it turns messages into subscriptions, and trades into frames, without sockets or clock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import orjson

from market.streams.connection import Connection
from market.tape import Trade
from market.trade_book import Instrument

__all__ = ["Frame", "Hub", "Key", "StreamProtocol", "Update", "iso_us", "load"]

_SECOND_US = 1_000_000
SPREAD_STEPS = 2


class Key(NamedTuple):
    """A subscription. Connections with equal keys get the same bytes.

    Attributes:
        interval_s: of candles.
        option: the venue's name of the interval, or another parameter.
        stream: the name that wraps the data; empty: not wrapped.
        micro: times are in microseconds instead of milliseconds.
    """

    channel: str
    symbol: str
    interval_s: int = 0
    option: str = ""
    stream: str = ""
    micro: bool = False


class Frame(NamedTuple):
    """The payload of a text frame, and the trades in it."""

    payload: str
    trades: list[Trade]


@dataclass(frozen=True, slots=True)
class Update:
    """What is new of an instrument since the update before.

    Attributes:
        trades: in the order of sending, after faults.
        last_s, now_s: market seconds since the anchor, of the update before and of this one.
        now_us: wall time, UTC epoch us, with the venue's clock skew.
        stamp: maps market microseconds to that wall time.
        day: open, high, low and volume of the last 24 hours, as numbers; a few seconds old.
    """

    instrument: Instrument
    trades: list[Trade]
    last_s: int
    now_s: int
    now_us: int
    stamp: Callable[[int], int]
    day: Callable[[], tuple[float, float, float, float]]

    @property
    def new_second(self) -> bool:
        return self.now_s > self.last_s

    @property
    def best(self) -> tuple[int, int, int, int]:
        """As `best_at`, of this second."""
        return self.best_at(self.now_s)

    def best_at(self, second: int) -> tuple[int, int, int, int]:
        """Best bid and ask with simulated sizes, in steps: buyers take at the ask and sellers at the bid, at the price of the second's trades."""
        tape, unit = self.instrument.tape, 10**self.instrument.steps.size
        least = max(1, unit // 10)
        price = tape.price(second)
        bid, ask = (max(1, price - SPREAD_STEPS), price) if tape.bought(second) else (price, price + SPREAD_STEPS)
        return bid, least + second * 7_919 % unit, ask, least + second * 104_729 % unit


class Hub(ABC):
    """What a protocol needs of the streams."""

    @abstractmethod
    def instruments(self, venue: str) -> Mapping[str, Instrument]:
        """By symbol."""

    @abstractmethod
    def refused(self, venue: str) -> Callable[[str], bool]:
        """Whether a fault refuses the subscription of a symbol."""

    @abstractmethod
    def subscribe(self, connection: Connection, key: Key) -> Update:
        """Send what is new of the symbol, subscribe, and return the present state, without trades. Repetition has no effect."""

    @abstractmethod
    def unsubscribe(self, connection: Connection, key: Key) -> None: ...

    @abstractmethod
    def last_trades(self, symbol: Instrument, limit: int) -> list[Trade]:
        """The last trades that were sent; oldest first."""

    @abstractmethod
    def send(self, connection: Connection, symbol: str, frame: Frame) -> None:
        """Send data of a symbol, unless a fault withholds it."""

    @abstractmethod
    def now_us(self, venue: str) -> int:
        """Wall time, UTC epoch us, with the venue's clock skew."""


class StreamProtocol(ABC):
    """A venue's protocol."""

    venue: ClassVar[str]
    trade_channels: ClassVar[Collection[str]]
    """Channels that carry every trade; faults of trades change them."""

    @abstractmethod
    def valid_path(self, path: str) -> bool:
        """Whether the venue upgrades this path (relative to the provider's)."""

    @abstractmethod
    def opened(self, connection: Connection, hub: Hub) -> None:
        """Send what the venue sends at first, and subscribe what the URL asks for."""

    @abstractmethod
    def received(self, connection: Connection, text: str, hub: Hub) -> None:
        """Handle a client's message."""

    @abstractmethod
    def frames(self, key: Key, update: Update) -> list[Frame]:
        """What a subscription gets of an update."""

    @abstractmethod
    def beat(self, connection: Connection, now_s: float, hub: Hub) -> None:
        """Heartbeats, pings and time limits; called many times a second with monotonic seconds."""

    @abstractmethod
    def announce(self, connection: Connection, hub: Hub, start_us: int | None, end_us: int | None) -> None:
        """Announce that the connection will be closed, or a maintenance between two wall times (UTC epoch us)."""


def load(text: str) -> Any:
    """The JSON of a message; None if it is none."""
    try:
        return orjson.loads(text)
    except ValueError:
        return None


def iso_us(time_us: int) -> str:
    """RFC 3339 with six decimals."""
    seconds, rest = divmod(time_us, _SECOND_US)
    return f"{_iso_s(seconds)}.{rest:06d}Z"


@lru_cache(maxsize=1_024)
def _iso_s(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
