"""CoinGecko's `/coins/{id}/market_chart` and its `/range`: past prices, market caps and volumes as [ms, value] pairs."""

from __future__ import annotations

from typing import Any

from cryptoviz.times import DAY_MS
from market.coins import ReplayedCoin
from market.dialects.base import Answer, Request, View
from market.recorded import CANDLE_MS

__all__ = ["history_answer"]

_HOUR_MS = 3_600_000
_STEPS = {"5m": (CANDLE_MS, 10 * DAY_MS), "hourly": (_HOUR_MS, 100 * DAY_MS), "daily": (DAY_MS, 100_000 * DAY_MS)}
"""Step and longest window of an explicit interval."""
_FREE_DAYS = 365
"""History limit of the keyless and Demo plans."""


def history_answer(request: Request, view: View, coin: ReplayedCoin, *, bounded: bool) -> Answer:
    """5-minute points up to a day, hourly up to 90 days, daily above; the last point is now, off the grid, as at CoinGecko.

    Before the recorded month, the month repeats, as in the quotes.
    """
    endpoint = "/coins/{id}/market_chart" + ("/range" if bounded else "")
    if request.query.get("vs_currency", "").lower() != "usd":
        return Answer(400, {"error": "invalid vs_currency"}, endpoint, credits=1)
    window = _range(request, view.now_ms) if bounded else _days(request, view.now_ms)
    if window is None:
        return Answer(422, {"error": "Missing or invalid parameter: days, or from and to in UNIX seconds"}, endpoint, credits=1)
    start, end = window
    if view.now_ms - start > _FREE_DAYS * DAY_MS + _HOUR_MS:
        message = f"Your request exceeds the allowed time range. Public API users are limited to data of the past {_FREE_DAYS} days."
        return Answer(401, {"error": {"status": {"error_code": 10012, "error_message": message}}}, endpoint, credits=1)
    step, longest = _STEPS.get(request.query.get("interval", ""), (0, 0))
    if end - start > longest:
        step = _automatic_step(end - start)
    times = [*range(start - start % -step, end, step), *([] if bounded else [end])]
    body: dict[str, Any] = {"prices": [], "market_caps": [], "total_volumes": []}
    for at in times:
        price, volume = view.market.history(view.price_view, coin, at)
        body["prices"].append([at, price])
        body["market_caps"].append([at, price * (coin.coingecko.circulating or 0)])
        body["total_volumes"].append([at, volume])
    return Answer(200, body, endpoint, credits=1)


def _automatic_step(length_ms: int) -> int:
    if length_ms <= DAY_MS:
        return CANDLE_MS
    return _HOUR_MS if length_ms <= 90 * DAY_MS else DAY_MS


def _days(request: Request, now_ms: int) -> tuple[int, int] | None:
    try:
        days = float(request.query["days"])
    except (KeyError, ValueError):
        return None
    return (now_ms - round(days * DAY_MS), now_ms) if 0 < days <= 36_500 else None


def _range(request: Request, now_ms: int) -> tuple[int, int] | None:
    try:
        start, end = (round(float(request.query[name]) * 1000) for name in ("from", "to"))
    except (KeyError, ValueError, OverflowError):
        return None
    return (start, min(end, now_ms)) if start < end else None
