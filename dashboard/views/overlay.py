"""Consensus and providers over the candles of a coin."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Overlay", "overlay_values"]

_HALF_BPS = 2e4


@dataclass(frozen=True, slots=True)
class Overlay:
    """`consensus`: (start in UTC epoch ms, last consensus price, widest spread in basis points or None) of each candle; `providers`: (start, last
    price) of each candle in which a provider's price was the one shown. In the quote currency, oldest first.
    """

    consensus: list[tuple[int, float, float | None]] = field(default_factory=list)
    providers: dict[str, list[tuple[int, float]]] = field(default_factory=dict)


def overlay_values(overlay: Overlay) -> dict[str, object]:
    """Values for the chart. The band is the consensus plus and minus half of the spread between the highest and the lowest provider."""
    band = [
        (start, price, price * (1 - (spread or 0) / _HALF_BPS), price * (1 + (spread or 0) / _HALF_BPS)) for start, price, spread in overlay.consensus
    ]
    return {"band": band, "providers": overlay.providers}
