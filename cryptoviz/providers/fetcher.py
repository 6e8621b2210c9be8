"""What a provider needs of the network: `HttpFetcher` is the network, `actors.replay.recorded_fetcher` a recording of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from cryptoviz.providers.response import Exchange, HttpResponse
from cryptoviz.records import Call

__all__ = ["Fetcher"]

T = TypeVar("T")


class Fetcher(Protocol):
    """What a provider needs of the network, or of a recording of it.

    Attributes:
        last: the exchange that ended last.
        calls: those of the poll so far, in the order in which they ended.
    """

    last: Exchange
    calls: list[Call]

    @property
    def timeout_s(self) -> float:
        """The most that one attempt may take."""
        ...

    def begin(self, tick_ts: int, attempt: int) -> None:
        """Name the tick and attempt that the next exchanges belong to. The first attempt begins the list of calls."""
        ...

    async def get(
        self,
        url: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        parse: Callable[[HttpResponse], T],
        shorten: Callable[[Any], Any] | None = None,
    ) -> T:
        """See `HttpFetcher.get`."""
        ...

    async def aclose(self) -> None:
        """Let go of what it holds."""
        ...
