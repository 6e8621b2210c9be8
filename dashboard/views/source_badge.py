"""Where a price comes from, in words."""

from __future__ import annotations

from dataclasses import dataclass

from cryptoviz.providers.registry import display_name
from cryptoviz.records import Role, UnifiedRecord
from dashboard.views.texts import say

__all__ = ["SourceBadge", "source_badge"]


_FALLBACK = "{provider}, fallback for the primary provider ({reason})"


@dataclass(frozen=True, slots=True)
class SourceBadge:
    """Plain texts, to be escaped by the renderer. `fallback` is None for the primary provider's price."""

    provider: str
    fallback: str | None
    tooltip: str


def source_badge(record: UnifiedRecord) -> SourceBadge:
    """The badge of one record."""
    provider = display_name(record.provider)
    count = record.consensus_sources
    sources = say("{count} source answered this tick" if count == 1 else "{count} sources answered this tick", count=count)
    if record.role == Role.FALLBACK:
        reason = record.fallback_reason or "unknown"
        return SourceBadge(provider, f"{say('fallback')}: {reason}", f"{say(_FALLBACK, provider=provider, reason=reason)}; {sources}")
    return SourceBadge(provider, None, f"{say('{provider}, the primary provider', provider=provider)}; {sources}")
