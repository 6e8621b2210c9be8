"""The price of one coin in a recorded poll: the provider's own class reads the recorded exchanges again, without network.

`actors.replay` reproduces whole ticks, in a process of its own, with the rules and all coins of the recording. A chart needs one coin of some
hundred polls, now: the poll is made for that coin with the present settings, and each call gets the recorded body of the same path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cryptoviz.clock import StoppedClock
from cryptoviz.providers.failures import failure
from cryptoviz.providers.fetcher import CallLog
from cryptoviz.providers.registry import provider_class
from cryptoviz.providers.response import HttpResponse
from cryptoviz.providers.schema_drift import ShapeWatch
from cryptoviz.records import FallbackReason, Observation
from cryptoviz.settings import ProviderSettings, Settings

__all__ = ["Body", "PollReader"]

_BASE_URL = "http://recorded.invalid"
_BUDGET_S = 10.0
"""Of processor time in effect: recorded responses take no time."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Body:
    """A recorded response. `endpoint`: path with query; `finished_ms`: UTC epoch ms."""

    endpoint: str
    status: int
    finished_ms: int
    fetch_id: str
    body: str

    @property
    def path(self) -> str:
        """Without the query."""
        return self.endpoint.partition("?")[0]


class PollReader:
    """Reads polls of one provider. For one thread at a time.

    Raises:
        SettingsError: there is no such provider any more, or its plan needs a key that is not set.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        own = settings.provider(name)
        self._clock = StoppedClock()
        self._fetcher = _Recorded(name)
        self._provider = provider_class(name)(
            ProviderSettings(base_url=_BASE_URL, plan=own.plan, api_key=own.api_key),
            self._fetcher,
            self._clock,
        )
        self._provider.shape_watch = ShapeWatch(name, {})  # drift was reported when the responses were received
        self._assets = [asset for asset in settings.assets if self._provider.id_of(asset) is not None]

    def lists(self, asset_id: str) -> bool:
        """Whether the provider has an id for the coin."""
        return any(asset.asset_id == asset_id for asset in self._assets)

    async def price(self, asset_id: str, tick_ms: int, memory: Any, bodies: Sequence[Body]) -> Observation | None:
        """The coin's observation in a poll; None if the poll has none that the present parser can read.

        Args:
            asset_id: ours.
            tick_ms: tick of the poll; UTC epoch ms.
            memory: the provider's state before the poll, as recorded.
            bodies: the poll's responses; several of one path are pages, of which one has the coin.
        """
        if not bodies:
            return None
        # With a second coin: a provider may ask otherwise for a single one.
        asked = sorted(self._assets, key=lambda asset: asset.asset_id != asset_id)[:2]
        self._clock.ms = bodies[-1].finished_ms
        page, pages = 0, 1
        while page < pages:
            self._provider.recall(memory)
            self._fetcher.load(bodies, page)
            result = await self._provider.poll(tick_ms, asked, _BUDGET_S)
            if (found := result.observations.get(asset_id)) is not None:
                return found
            page, pages = page + 1, self._fetcher.pages
        return None


class _Recorded:
    """A `Fetcher` that answers each call with a recorded body of the same path."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._bodies: Sequence[Body] = ()
        self._page = 0
        self.pages = 0
        """Most bodies that one path has."""

    @property
    def timeout_s(self) -> float:
        return _BUDGET_S

    def load(self, bodies: Sequence[Body], page: int) -> None:
        self._bodies, self._page, self.pages = bodies, page, 0

    async def get(
        self,
        url: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        parse: Callable[[HttpResponse], T],
        shorten: Callable[[Any], Any] | None = None,
        log: CallLog | None = None,
    ) -> T:
        del params, headers, shorten, log
        path = urlsplit(url).path
        same = [one for one in self._bodies if one.path.endswith(path)]
        if not same:
            raise failure(self._provider, FallbackReason.UNAVAILABLE, "not in the recording", final=True)
        self.pages = max(self.pages, len(same))
        one = same[min(self._page, len(same) - 1)]
        return parse(HttpResponse(one.status, {}, one.body.encode(), one.finished_ms, one.fetch_id))

    async def aclose(self) -> None:
        pass
