"""Past prices of a provider, for a backfill: `HistorySource` builds its calls and parses their responses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from cryptoviz.providers.failures import bad_payload
from cryptoviz.providers.pairs import Entry
from cryptoviz.providers.response import HttpResponse
from cryptoviz.providers.values import price_of_text

__all__ = ["DAY_MS", "MINUTE_MS", "SECOND_MS", "HistorySource", "Point", "Step", "Window", "candles"]

SECOND_MS: int = 1_000
MINUTE_MS: int = 60_000
DAY_MS: int = 86_400_000


@dataclass(frozen=True, slots=True)
class Point:
    """A price at `at_ms` (UTC epoch ms): the last millisecond of a candle, or the time of a point. Amounts in quote currency; None if unknown."""

    at_ms: int
    price: float
    market_cap: float | None = None
    volume_24h: float | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Ticks that one call covers, in order of time, and the requested span (UTC epoch ms, both ends included)."""

    ticks: tuple[int, ...]
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Step:
    """What calls look like for some ticks.

    Attributes:
        ticks: in order of time.
        length_ms: of a candle.
        span_ms: the longest range that one call answers.
        lookback_ms: how far before its first tick a call reaches at first. Where nothing was traded in that time, a further call looks back to the
            limit of staleness, so that a tick's price does not depend on which other ticks are filled with it.
    """

    ticks: tuple[int, ...]
    length_ms: int
    span_ms: int
    lookback_ms: int


class HistorySource(ABC):
    """Past prices of one provider. No state, no network."""

    path: ClassVar[str]
    """Of its calls, or a part of it, which no poll has."""
    currency: ClassVar[str | None] = None
    """That the calls ask for. None: each id has its own."""

    @abstractmethod
    def steps(self, ticks: Sequence[int], now_ms: int, max_age_ms: int = 0) -> list[Step]:
        """How to ask for ticks, which are in order of time (UTC epoch ms). Those that lie too far back are in none of the steps.

        How a tick is asked for depends on the tick and `now_ms`, never on the other ticks. `max_age_ms` is the limit of staleness.
        """

    @abstractmethod
    def request(self, provider_id: str, window: Window, step: Step) -> tuple[str, dict[str, str]]:
        """Path below the provider's address, and the query."""

    @abstractmethod
    def parse(self, response: HttpResponse, step: Step) -> list[Point]:
        """Prices in order of time; candles that are not over are left out, as are those without a price.

        Raises:
            ProviderUnavailable, ProviderRefused, BadPayload: the answer as a whole is of no use.
            NoHistory: the provider says that it does not reach so far back.
        """

    def listing_request(self, provider_id: str) -> tuple[str, dict[str, str]]:
        """Path and query of the listing of one id, for those whose currency is not known without."""
        raise NotImplementedError(provider_id)

    def parse_listing(self, response: HttpResponse) -> list[Entry]:
        """The pairs of the listing. Raises as `parse`."""
        raise NotImplementedError(response.status)


def candles(name: str, rows: list[Any], trades_at: int, unit_ms: int, length_ms: int, now_ms: int) -> list[Point]:
    """Closes of candles that are over, as of their last millisecond.

    A candle without a trade repeats the price before it, which is no newer for it: it is left out, so that an outage reads the same whether the
    exchange fills it with flat candles or with none.
    """
    usable = [row for row in rows if isinstance(row, list) and len(row) > 4]
    if rows and not usable:
        raise bad_payload(name, f"expected candles, received {len(rows)} rows of another shape")
    points = []
    for row in usable:
        opened, price = row[0], price_of_text(row[4])
        traded = len(row) <= trades_at or row[trades_at] != 0 or isinstance(row[trades_at], bool)
        if isinstance(opened, int) and not isinstance(opened, bool) and isinstance(price, float) and traded:
            end = opened * unit_ms + length_ms
            if 0 < end <= now_ms:
                points.append(Point(end - 1, price))
    return sorted(points, key=lambda point: point.at_ms)
