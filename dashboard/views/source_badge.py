"""Where a price comes from, in words."""

from __future__ import annotations

from dataclasses import dataclass

from cryptoviz.providers.registry import display_name
from cryptoviz.records import Role, UnifiedRecord
from dashboard.views.texts import say

__all__ = ["SourceBadge", "source_badge"]


@dataclass(frozen=True, slots=True)
class SourceBadge:
    """Plain texts, to be escaped by the renderer. `fallback` is None for the primary provider's price."""

    provider: str
    fallback: str | None
    tooltip: str


def source_badge(record: UnifiedRecord) -> SourceBadge:
    """The badge of one record."""
    provider = display_name(record.provider)
    sources = f"{record.consensus_sources} source{'s' if record.consensus_sources != 1 else ''} answered this tick"
    if record.role == Role.FALLBACK:
        reason = record.fallback_reason or "unknown"
        return SourceBadge(provider, f"{say('fallback')}: {reason}", f"{provider}, fallback for the primary provider ({reason}); {sources}")
    return SourceBadge(provider, None, f"{provider}, the primary provider; {sources}")
