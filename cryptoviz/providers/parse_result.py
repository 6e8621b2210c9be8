"""The result of parsing one response."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptoviz.providers.failures import bad_payload
from cryptoviz.records import FallbackReason, Observation

__all__ = ["Parsed", "gather", "require_rows"]


@dataclass(frozen=True, slots=True)
class Parsed:
    """Observations of a body, and the requested coins without a price.

    Attributes:
        unlisted: requested provider ids that are not in the body: the provider does not list them.
    """

    observations: list[Observation] = field(default_factory=list)
    asset_failures: dict[str, FallbackReason] = field(default_factory=dict)
    unlisted: frozenset[str] = frozenset()


def require_rows(provider: str, rows: Collection[Any], is_row: Callable[[dict[str, Any]], bool]) -> None:
    """Refuse a container that is not empty but has no element of the documented shape: it is from another endpoint, or no data.

    Raises:
        BadPayload: `is_row` is true for no object in `rows`.
    """
    if rows and not any(isinstance(row, dict) and is_row(row) for row in rows):
        kinds = ", ".join(sorted({type(row).__name__ for row in rows})[:4])
        raise bad_payload(provider, f"expected records with an id and a price, received {len(rows)} of another shape ({kinds})")


def gather(ids: Mapping[str, str], outcomes: Iterable[tuple[str, Observation | FallbackReason]]) -> Parsed:
    """Each coin once. `ids` maps the provider's ids to ours; `outcomes` are by the provider's id, in the body's order; others are ignored.

    A coin with two entries has no price, because either may be wrong. A coin without an entry is missing.
    """
    found: dict[str, Observation] = {}
    failures: dict[str, FallbackReason] = {}
    for provider_id, outcome in outcomes:
        asset_id = ids.get(provider_id)
        if asset_id is None:
            continue
        if asset_id in found or asset_id in failures:
            found.pop(asset_id, None)
            failures[asset_id] = FallbackReason.BAD_PAYLOAD
        elif isinstance(outcome, Observation):
            found[asset_id] = outcome
        else:
            failures[asset_id] = outcome
    unlisted = frozenset(provider_id for provider_id, asset_id in ids.items() if asset_id not in found and asset_id not in failures)
    failures |= {ids[provider_id]: FallbackReason.MISSING_ASSET for provider_id in unlisted}
    return Parsed(list(found.values()), failures, unlisted)
