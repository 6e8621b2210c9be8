"""Status of our ids at one provider, from its latest good responses and its own list."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol, TypeVar

from cryptoviz.provider_status import IdFault, IdProblem
from cryptoviz.providers.response import HttpResponse

__all__ = ["AskList", "ListingStatus"]

T = TypeVar("T")


class AskList(Protocol):
    """One call for a page of a provider's list, through its limits."""

    async def __call__(self, path: str, params: Mapping[str, str], parse: Callable[[HttpResponse], T]) -> T:
        """GET a path below the base address. Raises as `HttpFetcher.get`."""


class ListingStatus:
    """Combines both sources: the list reports a wrong or halted id once; after that, responses do.

    Attributes:
        left_out: our ids that are not in the latest good responses.
    """

    def __init__(self) -> None:
        self.left_out: frozenset[str] = frozenset()
        self._assets: dict[str, str] = {}
        self._priced: frozenset[str] = frozenset()
        self._listed: Mapping[str, str | None] = {}

    def answered(self, ids: Mapping[str, str], left_out: Collection[str], priced: Collection[str]) -> None:
        """Record a good poll, which requested `ids` (the provider's -> ours) and returned prices for the assets `priced`."""
        self._assets |= ids
        self.left_out = frozenset(left_out)
        self._priced = frozenset(provider_id for provider_id, asset_id in ids.items() if asset_id in priced)

    def listed(self, ids: Mapping[str, str], states: Mapping[str, str | None]) -> None:
        """Record the list: None for an id that is not in it, else the reason why it is not traded, empty if it is traded."""
        self._assets |= ids
        self._listed = dict(states)

    @property
    def problems(self) -> tuple[IdProblem, ...]:
        """Ids without a price, sorted."""
        found = {provider_id: self._fault(provider_id) for provider_id in self.left_out | self._listed.keys()}
        return tuple(
            IdProblem(self._assets.get(provider_id, ""), provider_id, *fault) for provider_id, fault in sorted(found.items()) if fault is not None
        )

    def _fault(self, provider_id: str) -> tuple[IdFault, str] | None:
        halted = self._listed.get(provider_id)
        if halted:
            # Also while there is a price: the last price before the halt.
            # The text is from outside and is shown on terminals.
            return IdFault.NOT_TRADED, halted if halted.isascii() and halted.isprintable() else "halted"
        if provider_id in self.left_out:
            return (IdFault.LEFT_OUT if halted == "" else IdFault.NOT_LISTED), ""
        if provider_id in self._listed and halted is None and provider_id not in self._priced:
            return IdFault.NOT_LISTED, ""
        return None
