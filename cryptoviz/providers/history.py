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

__all__ = ["MINUTE_MS", "SECOND_MS", "HistorySource", "Point", "Step", "Window", "candles"]

SECOND_MS: int = 1_000
MINUTE_MS: int = 60_000


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
    """The parameters of the calls for some ticks.

    Attributes:
        ticks: in order of time.
        length_ms: of a candle.
        span_ms: the longest range of a call.
        lookback_ms: how far before its first tick the first call reaches. If nothing was traded in that time, another call looks back to the
            limit of staleness, so that a tick's price does not depend on the other ticks that are filled.
    """

    ticks: tuple[int, ...]
    length_ms: int
    span_ms: int
    lookback_ms: int


class HistorySource(ABC):
    """Past prices of one provider. No state, no network."""

    path: ClassVar[str]
    """Path of its calls, or a part that no poll's path contains."""
    currency: ClassVar[str | None] = None
    """Currency that the calls request. None: that of each id."""

    @abstractmethod
    def steps(self, ticks: Sequence[int], now_ms: int, max_age_ms: int = 0) -> list[Step]:
        """The steps that cover `ticks` (in order, UTC epoch ms). Ticks that are too old are in no step.

        The step of a tick depends on the tick and `now_ms`, never on the other ticks. `max_age_ms` is the limit of staleness.
        """

    @abstractmethod
    def request(self, provider_id: str, window: Window, step: Step) -> tuple[str, dict[str, str]]:
        """Path below the provider's address, and the query."""

    @abstractmethod
    def parse(self, response: HttpResponse, step: Step) -> list[Point]:
        """Prices in order of time; unfinished candles and those without a price are left out.

        Raises:
            ProviderUnavailable, ProviderRefused, BadPayload: the whole response is unusable.
            NoHistory: the provider reports that its history does not reach back to these ticks.
        """

    def listing_request(self, provider_id: str) -> tuple[str, dict[str, str]]:
        """Path and query of the listing of one id, for ids whose currency is otherwise unknown."""
        raise NotImplementedError(provider_id)

    def parse_listing(self, response: HttpResponse) -> list[Entry]:
        """The pairs of the listing. Raises as `parse`."""
        raise NotImplementedError(response.status)


def candles(name: str, rows: list[Any], trades_at: int, unit_ms: int, length_ms: int, now_ms: int) -> list[Point]:
    """Closes of finished candles, at their last millisecond.

    A candle without a trade repeats an older price, and is left out: an outage reads the same whether the exchange fills it with flat candles or
    with none.
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
