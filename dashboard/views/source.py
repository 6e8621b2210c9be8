"""Where a price came from, said on its row."""

from __future__ import annotations

from dataclasses import dataclass

from cryptoviz.records import Role, UnifiedRecord

__all__ = ["SourceBadge", "source_badge"]

_NAMES = {"coingecko": "CoinGecko", "coinmarketcap": "CoinMarketCap", "binance": "Binance", "kraken": "Kraken", "coinbase": "Coinbase"}


@dataclass(frozen=True, slots=True)
class SourceBadge:
    """Texts are plain: who renders them escapes them. `fallback` is None for the primary provider's price."""

    provider: str
    fallback: str | None
    tooltip: str


def source_badge(record: UnifiedRecord) -> SourceBadge:
    """The badge of one record."""
    provider = _NAMES.get(record.provider, record.provider)
    sources = f"{record.consensus_sources} source{'s' if record.consensus_sources != 1 else ''} answered this tick"
    if record.role == Role.FALLBACK:
        reason = record.fallback_reason or "unknown"
        return SourceBadge(provider, f"fallback: {reason}", f"{provider} stands in for the primary provider ({reason}); {sources}")
    return SourceBadge(provider, None, f"{provider}, the primary provider; {sources}")
