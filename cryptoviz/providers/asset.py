"""A coin, with our id and the ids of the providers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

__all__ = ["Asset"]


@dataclass(frozen=True, slots=True)
class Asset:
    """One coin. `provider_ids` maps a provider's name to the id that provider uses."""

    # For settings: a misspelt field would have no effect, so it is refused.
    __pydantic_config__: ClassVar[Mapping[str, str]] = {"extra": "forbid"}

    asset_id: str
    symbol: str
    name: str
    provider_ids: dict[str, str] = field(default_factory=dict)
