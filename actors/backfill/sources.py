"""How each provider's history is asked for and read.

Sources: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#klinecandlestick-data (1000 candles a call, from 1 s
on), https://docs.kraken.com/api/docs/rest-api/get-ohlc-data (the last 720 candles, however far back `since` lies; the last one is not over),
https://docs.coingecko.com/reference/coins-id-market-chart-range (points about 5 minutes apart in ranges up to a day; keyless and Demo plans reach
back 365 days).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

from actors.backfill.series import Point, Window
from actors.providers import binance, coingecko, kraken
from actors.providers.decode import decode_response
from actors.providers.failures import bad_payload
from actors.providers.http import HttpResponse
from actors.providers.pairs import Entry
from actors.providers.values import count_or_none, number, positive_or_none, price_of, price_of_text
from cryptoviz.assets import table_quote
from cryptoviz.currencies import DOLLAR
from cryptoviz.errors import NoHistory
from cryptoviz.records import FallbackReason

__all__ = ["SOURCES", "HistorySource", "Step"]

_SECOND_MS, _MINUTE_MS, _DAY_MS = 1_000, 60_000, 86_400_000


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
    """One provider's history. No state, no network."""

    name: ClassVar[str]

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

    def currency(self, provider_id: str) -> str | None:
        """Of the prices, where it is known without the provider's listing."""
        return table_quote(self.name, provider_id)

    def listing_request(self, provider_id: str) -> tuple[str, dict[str, str]]:
        """Path and query of the listing of one id, for those whose currency is not known without."""
        raise NotImplementedError(provider_id)

    def parse_listing(self, response: HttpResponse) -> list[Entry]:
        """The pairs of the listing. Raises as `parse`."""
        raise NotImplementedError(response.status)


class BinanceHistory(HistorySource):
    """`GET /api/v3/klines`: the close. Candles of a minute for ticks on whole minutes, of a second for others."""

    name: ClassVar[str] = binance.NAME
    _ROWS = 1_000
    _LOOKBACK = 5  # candles: most pairs trade within that time

    def steps(self, ticks: Sequence[int], now_ms: int, max_age_ms: int = 0) -> list[Step]:
        """See `HistorySource`."""
        del now_ms, max_age_ms
        minutes = tuple(tick for tick in ticks if tick % _MINUTE_MS == 0)
        others = tuple(tick for tick in ticks if tick % _MINUTE_MS)
        both = ((minutes, _MINUTE_MS), (others, _SECOND_MS))
        return [Step(own, length, (self._ROWS - 1) * length, self._LOOKBACK * length) for own, length in both if own]

    def request(self, provider_id: str, window: Window, step: Step) -> tuple[str, dict[str, str]]:
        """See `HistorySource`."""
        interval = "1m" if step.length_ms == _MINUTE_MS else "1s"
        query = {
            "symbol": provider_id,
            "interval": interval,
            "startTime": str(window.from_ms),
            "endTime": str(window.to_ms),
            "limit": str(self._ROWS),
        }
        return "/api/v3/klines", query

    def parse(self, response: HttpResponse, step: Step) -> list[Point]:
        """See `HistorySource`. A row is [open time, open, high, low, close, volume, close time, ...]."""
        data = decode_response(self.name, response, binance.STATUS_REASONS)
        if response.status != 200 or not isinstance(data, list):
            raise binance.error_of(response, data)
        return _candles(self.name, data, _TRADES_AT_BINANCE, 1, step.length_ms, response.received_ms)

    def listing_request(self, provider_id: str) -> tuple[str, dict[str, str]]:
        """See `HistorySource`."""
        return binance.INFO_PATH, binance.info_query((provider_id,))

    def parse_listing(self, response: HttpResponse) -> list[Entry]:
        """See `HistorySource`."""
        return binance.parse_info(response)


class KrakenHistory(HistorySource):
    """`GET /0/public/OHLC`: the close. Always the last 720 candles, so that older ticks need longer ones, up to a quarter of an hour."""

    name: ClassVar[str] = kraken.NAME
    _ROWS = 720
    _LENGTHS_MS = (_MINUTE_MS, 5 * _MINUTE_MS, 15 * _MINUTE_MS)
    _LOOKBACK = 2

    def steps(self, ticks: Sequence[int], now_ms: int, max_age_ms: int = 0) -> list[Step]:
        """See `HistorySource`. Candles of a length count where they reach back over a tick's whole limit of staleness, or half of them do."""
        found: list[Step] = []
        left = list(ticks)
        for length in self._LENGTHS_MS:
            lookback_ms = min(max(self._LOOKBACK * length, max_age_ms), self._ROWS // 2 * length)
            reach_ms = now_ms - (self._ROWS - 1) * length + lookback_ms
            own = tuple(tick for tick in left if tick >= reach_ms)
            left = [tick for tick in left if tick < reach_ms]
            if own:
                found.append(Step(own, length, self._ROWS * length, self._LOOKBACK * length))
        return found

    def request(self, provider_id: str, window: Window, step: Step) -> tuple[str, dict[str, str]]:
        """See `HistorySource`."""
        # `since` itself is not included.
        since = str((window.from_ms - step.length_ms) // 1000)
        return "/0/public/OHLC", {"pair": provider_id, "interval": str(step.length_ms // _MINUTE_MS), "since": since}

    def parse(self, response: HttpResponse, step: Step) -> list[Point]:
        """See `HistorySource`. A row is [time, open, high, low, close, vwap, volume, count], the time in seconds."""
        result = kraken.result_of(response)
        # One pair was asked for, so that the only series is its own, whatever its key.
        series = [rows for key, rows in result.items() if key != "last"]
        if len(series) != 1 or not isinstance(series[0], list):
            raise bad_payload(self.name, "expected an object with one pair's candles in result")
        return _candles(self.name, series[0], _TRADES_AT_KRAKEN, 1000, step.length_ms, response.received_ms)

    def listing_request(self, provider_id: str) -> tuple[str, dict[str, str]]:
        """See `HistorySource`."""
        return kraken.PAIRS_PATH, {"pair": provider_id}

    def parse_listing(self, response: HttpResponse) -> list[Entry]:
        """See `HistorySource`."""
        return kraken.parse_pairs(response)


class CoinGeckoHistory(HistorySource):
    """`GET /coins/{id}/market_chart/range`: prices, market caps and 24 h volumes at points about five minutes apart."""

    name: ClassVar[str] = coingecko.NAME
    _TOO_FAR = 10012
    _LOOKBACK_MS = 2 * 5 * _MINUTE_MS

    def currency(self, provider_id: str) -> str | None:
        """The one that is asked for."""
        del provider_id
        return DOLLAR

    def steps(self, ticks: Sequence[int], now_ms: int, max_age_ms: int = 0) -> list[Step]:
        """See `HistorySource`. Ranges of up to a day: longer ones get hourly points."""
        del now_ms, max_age_ms
        return [Step(tuple(ticks), 5 * _MINUTE_MS, _DAY_MS - 1_000, self._LOOKBACK_MS)]

    def request(self, provider_id: str, window: Window, step: Step) -> tuple[str, dict[str, str]]:
        """See `HistorySource`."""
        del step
        # One second more, because the end is not included.
        query = {"vs_currency": "usd", "from": str(window.from_ms // 1000), "to": str(window.to_ms // 1000 + 1), "precision": "full"}
        return f"/coins/{quote(provider_id, safe='')}/market_chart/range", query

    def parse(self, response: HttpResponse, step: Step) -> list[Point]:
        """See `HistorySource`. Each of three lists holds [epoch ms, value]."""
        del step
        data = decode_response(self.name, response)
        body = data if isinstance(data, dict) else {}
        prices = body.get("prices")
        if response.status != 200 or not isinstance(prices, list):
            error = body.get("error")
            status = error.get("status") if isinstance(error, dict) else None
            if isinstance(status, dict) and status.get("error_code") == self._TOO_FAR:
                message = f"coingecko: {str(status.get('error_message', ''))[:200]}"
                raise NoHistory(message, provider=self.name, reason=FallbackReason.MISSING_ASSET)
            raise coingecko.error_of(response, data)
        caps, volumes = _by_time(body.get("market_caps")), _by_time(body.get("total_volumes"))
        points = []
        if prices and not any(True for _ in _pairs(prices)):
            raise bad_payload(self.name, "expected points of a time and a price in prices, received none")
        for at, value in _pairs(prices):
            price = price_of(value)
            if isinstance(price, float):
                points.append(Point(at, price, positive_or_none(caps.get(at)), count_or_none(volumes.get(at))))
        return sorted(points, key=lambda point: point.at_ms)


SOURCES: dict[str, HistorySource] = {source.name: source for source in (BinanceHistory(), KrakenHistory(), CoinGeckoHistory())}
"""By provider."""


_TRADES_AT_BINANCE, _TRADES_AT_KRAKEN = 8, 7
"""Index of the number of trades in a candle's row."""


def _candles(name: str, rows: list[Any], trades_at: int, unit_ms: int, length_ms: int, now_ms: int) -> list[Point]:
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


def _pairs(rows: Any) -> Iterable[tuple[int, Any]]:
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, list) and len(row) == 2 and (at := number(row[0])) is not None:
            yield int(at), row[1]


def _by_time(rows: Any) -> dict[int, Any]:
    return dict(_pairs(rows))
