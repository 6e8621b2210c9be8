"""What is known of our ids at one provider: what its newest good answers say, and what its own list said."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol, TypeVar

from cryptoviz.provider_status import IdFault, IdProblem
from cryptoviz.providers.response import HttpResponse

__all__ = ["AskList", "IdBook"]

T = TypeVar("T")


class AskList(Protocol):
    """One call for a page of a provider's list, through its limits."""

    async def __call__(self, path: str, params: Mapping[str, str], parse: Callable[[HttpResponse], T]) -> T:
        """GET a path below the base address. Raises as `HttpFetcher.get`."""


class IdBook:
    """Both sources are one picture: a list tells of a wrong or halted id once, answers tell from then on.

    Attributes:
        left_out: ids of ours that the newest good answers did not mention.
    """

    def __init__(self) -> None:
        self.left_out: frozenset[str] = frozenset()
        self._assets: dict[str, str] = {}
        self._priced: frozenset[str] = frozenset()
        self._listed: Mapping[str, str | None] = {}

    def answered(self, ids: Mapping[str, str], left_out: Collection[str], priced: Collection[str]) -> None:
        """A good poll: it asked for `ids` (the provider's -> ours), and had prices for the assets `priced`."""
        self._assets |= ids
        self.left_out = frozenset(left_out)
        self._priced = frozenset(provider_id for provider_id, asset_id in ids.items() if asset_id in priced)

    def listed(self, ids: Mapping[str, str], states: Mapping[str, str | None]) -> None:
        """What the list says: None of an id that is not in it, else why it is not traded, empty when it is."""
        self._assets |= ids
        self._listed = dict(states)

    @property
    def problems(self) -> tuple[IdProblem, ...]:
        """Ids that bring no price, by id."""
        found = {provider_id: self._fault(provider_id) for provider_id in self.left_out | self._listed.keys()}
        return tuple(
            IdProblem(self._assets.get(provider_id, ""), provider_id, *fault) for provider_id, fault in sorted(found.items()) if fault is not None
        )

    def _fault(self, provider_id: str) -> tuple[IdFault, str] | None:
        halted = self._listed.get(provider_id)
        if halted:
            # Also while there is a price: the last one before the halt.
            # The word is from outside and goes to terminals.
            return IdFault.NOT_TRADED, halted if halted.isascii() and halted.isprintable() else "halted"
        if provider_id in self.left_out:
            return (IdFault.LEFT_OUT if halted == "" else IdFault.NOT_LISTED), ""
        if provider_id in self._listed and halted is None and provider_id not in self._priced:
            return IdFault.NOT_LISTED, ""
        return None
