"""`PairProvider`: an exchange whose calls name pairs, which are looked up in its listing; a call with an unknown pair fails."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, TypeVar

from cryptoviz.clock import Clock
from cryptoviz.providers.asset import Asset
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.fetcher import Fetcher
from cryptoviz.providers.listing_status import AskList
from cryptoviz.providers.pairs import Entry, Pair, PairBook, match_ids, quoted_in_dollars
from cryptoviz.providers.response import HttpResponse
from cryptoviz.providers.spec import ProviderConfig
from cryptoviz.providers.symbol_bisect import UnknownIds

__all__ = ["ListingCall", "PairProvider"]

T = TypeVar("T")
ListingCall = tuple[str, dict[str, str], Callable[[HttpResponse], list[Entry]]]
"""Path, query and parser."""


class PairProvider(BaseProvider):
    """A provider with a `PairBook` and `UnknownIds`, whose state is recorded with each poll.

    Attributes:
        listing_page: ids in a call for the listing.
        before_listings: the book's memory for polls that were recorded before listings were read.
    """

    listing_page: ClassVar[int]
    before_listings: ClassVar[Mapping[str, Any]]

    @abstractmethod
    def listing_call(self, ids: Collection[str]) -> ListingCall:
        """The call for some ids of the listing."""

    def __init__(self, settings: ProviderConfig, fetcher: Fetcher, clock: Clock) -> None:
        super().__init__(settings, fetcher, clock)
        self._unknown = UnknownIds(self.name, clock)
        self._book = PairBook(self.name, self.spec.quote_of, clock)

    @property
    def note(self) -> str:
        return self._book.note

    def memory(self) -> Any:
        """The refused ids that are left out, and the listing."""
        return {"refused": sorted(self._unknown.refused), **self._book.memory()}

    def recall(self, memory: Any) -> None:
        if isinstance(memory, dict):
            self._unknown.recall(memory["refused"])
            self._book.recall(memory)
        else:
            self._unknown.recall(memory or ())
            self._book.recall(self.before_listings)

    async def listed(self, ids: Collection[str], ask: AskList) -> Mapping[str, str] | None:
        """See `BaseProvider`. Ids that responses left out are not requested, because any of them would fail the call; others that do are found."""
        wanted = {one: one for one in ids if one not in self.ids.left_out}
        entries = await self._by_page(wanted, self.listing_page, lambda page: ask(*self.listing_call(page)))
        return {one: entry.halted for one, entry in match_ids(wanted, entries).items()}

    async def _look_up(self, assets: Sequence[Asset]) -> tuple[dict[str, str], dict[str, Pair], dict[str, str]]:
        """The ids of `assets` (the exchange's -> ours), their pairs by a listing that is read if necessary, and the ids to request."""
        ids = self.ids_of(assets)
        await self._book.refresh(ids, self._read_listing)
        pairs = self._book.pairs(ids)
        return ids, pairs, quoted_in_dollars(ids, pairs)

    async def _by_page(self, ids: Mapping[str, str], size: int, ask: Callable[[Mapping[str, str]], Awaitable[list[T]]]) -> list[T]:
        """The results of `ask` for pages of the ids that are not refused."""
        found: list[T] = []
        for start in range(0, len(ids), size):
            found += await self._unknown.ask(dict(islice(ids.items(), start, start + size)), ask)
        return found

    async def _read_listing(self, ids: Mapping[str, str]) -> Mapping[str, Pair]:
        return {one: entry.pair for one, entry in match_ids(ids, await self._entries(ids)).items()}

    async def _entries(self, ids: Mapping[str, str]) -> list[Entry]:
        return await self._by_page(ids, self.listing_page, self._ask_listing)

    async def _ask_listing(self, ids: Mapping[str, str]) -> list[Entry]:
        return await self._get(*self.listing_call(ids))
