"""What a provider needs of the network: `HttpFetcher` is the network, `actors.replay.recorded_fetcher` a recording of it."""

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
    """Calls that belong together. Owned by the caller; a fetcher keeps nothing of a call.

    Attributes:
        tick_ts: recorded with each exchange, as is `attempt`.
        calls: in the order in which they ended.
        exchanges: those of the calls that were sent, in the same order.
    """

    tick_ts: int = 0
    attempt: int = 1
    calls: list[Call] = field(default_factory=list)
    exchanges: list[RawExchange] = field(default_factory=list)

    @property
    def last(self) -> RawExchange | None:
        """The exchange of this attempt that ended last."""
        return self.exchanges[-1] if self.exchanges and self.exchanges[-1].attempt == self.attempt else None

    @property
    def sent(self) -> bool:
        """Whether the call that ended last was sent: the limiter let it go."""
        return bool(self.calls and self.calls[-1].fetch_id)


class Fetcher(Protocol):
    """What a provider needs of the network, or of a recording of it."""

    @property
    def timeout_s(self) -> float:
        """The most that one attempt may take."""

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
        """Let go of what it holds."""
