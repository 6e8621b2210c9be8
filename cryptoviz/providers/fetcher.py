"""The provider's interface to the network: `HttpFetcher` makes requests, `actors.replay.recorded_fetcher` reads a recording."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from cryptoviz.providers.response import HttpResponse
from cryptoviz.records import Call, RawExchange

__all__ = ["CallLog", "Fetcher"]

T = TypeVar("T")


@dataclass(slots=True)
class CallLog:
    """The calls of one poll or read. Owned by the caller; a fetcher keeps no state of a call.

    Attributes:
        tick_ts: recorded with each exchange, as is `attempt`.
        calls: in the order of their end.
        exchanges: of the calls that were sent, in the same order.
    """

    tick_ts: int = 0
    attempt: int = 1
    calls: list[Call] = field(default_factory=list)
    exchanges: list[RawExchange] = field(default_factory=list)

    @property
    def last(self) -> RawExchange | None:
        """The last exchange of this attempt."""
        return self.exchanges[-1] if self.exchanges and self.exchanges[-1].attempt == self.attempt else None

    @property
    def sent(self) -> bool:
        """Whether the last call was sent, that is, permitted by the limiter."""
        return bool(self.calls and self.calls[-1].fetch_id)


class Fetcher(Protocol):
    """Makes a provider's requests, or reads them from a recording."""

    @property
    def timeout_s(self) -> float:
        """Maximum duration of an attempt."""

    async def get(
        self,
        url: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        parse: Callable[[HttpResponse], T],
        shorten: Callable[[Any], Any] | None = None,
        log: CallLog | None = None,
    ) -> T:
        """See `HttpFetcher.get`."""

    async def aclose(self) -> None:
        """Release connections."""
