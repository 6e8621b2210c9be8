"""Consensus and providers over the candles of a coin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from cryptoviz.providers.registry import display_name
from cryptoviz.records import DOLLARS

__all__ = ["Observed", "Overlay", "overlay_values", "with_providers"]

_HALF_BPS = 20_000.0


class Observed(Protocol):
    """The used part of `dashboard.feeds.provider_prices.ObservedPrices`."""

    @property
    def since_ms(self) -> int: ...
    @property
    def series(self) -> Mapping[tuple[str, str], Sequence[tuple[int, float]]]: ...
    @property
    def missing(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Overlay:
    """`consensus`: (start in UTC epoch ms, last consensus price, widest spread in basis points or None) of each candle.

    Attributes:
        providers: (start, price at the last answered tick) of candles, by name for people, which has the currency if it is another one.
        missing: names of providers that have no recorded price in the candles that were read.
        since_ms: start of the oldest candle whose providers were read; 0 if none were.
    """

    consensus: list[tuple[int, float, float | None]] = field(default_factory=list)
    providers: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    since_ms: int = 0


def with_providers(overlay: Overlay, currency: str, observed: Observed, *, mixed: bool) -> Overlay:
    """The overlay of candles in `currency` with the providers' prices that the consensus compares: also of dollar stablecoins if `mixed`."""
    compared = DOLLARS if mixed and currency in DOLLARS else {currency}
    providers = {
        display_name(name) if quoted == currency else f"{display_name(name)} ({quoted})": list(points)
        for (name, quoted), points in observed.series.items()
        if quoted in compared
    }
    return replace(overlay, providers=providers, missing=tuple(display_name(name) for name in observed.missing), since_ms=observed.since_ms)


def overlay_values(overlay: Overlay) -> dict[str, object]:
    """Values for the chart. The band is the consensus plus and minus half of the spread between the highest and the lowest provider."""
    band = [
        (start, price, price * (1 - (spread or 0) / _HALF_BPS), price * (1 + (spread or 0) / _HALF_BPS)) for start, price, spread in overlay.consensus
    ]
    cut = overlay.since_ms if band and overlay.since_ms > band[0][0] else None
    return {"band": band, "providers": list(overlay.providers.items()), "missing": overlay.missing, "since": cut}
