"""`PairProvider`: an exchange whose calls name pairs, which are looked up in its listing; a call with an unknown pair fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from cryptoviz.clock import Clock
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.fetcher import Fetcher
from cryptoviz.providers.pairs import PairBook
from cryptoviz.providers.spec import ProviderConfig
from cryptoviz.providers.symbol_bisect import UnknownIds

__all__ = ["PairProvider"]


class PairProvider(BaseProvider):
    """A provider with a `PairBook` and `UnknownIds`, whose state is recorded with each poll.

    Attributes:
        before_listings: the book's memory for polls that were recorded before listings were read.
    """

    before_listings: ClassVar[Mapping[str, Any]]

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
