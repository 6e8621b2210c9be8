"""Provider states and breaker control, by calls to the scrapers, each with its own deadline.

A scraper is called at most once in `_SHARED_S`, for any number of callers, because each call takes time from its polls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

from control.reconcile.reconciler import Reconciler
from cryptoviz.components import ComponentState, scraper_name
from cryptoviz.errors import ComponentLost, ControlRefused, CryptoVizError, UnknownComponent
from cryptoviz.log import get_logger
from cryptoviz.provider_status import ProviderStatus, ScraperStatus
from cryptoviz.settings import Settings

__all__ = ["ProviderStates"]

_log = get_logger("controller")

_SHARED_S = 0.25
"""For so long after a question to a scraper its answer is also that of later calls."""


class ProviderStates:
    """For one event loop."""

    def __init__(self, reconciler: Reconciler, settings: Settings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._reconciler = reconciler
        self._providers = tuple(settings.collect.providers)
        self._enabled = {name: settings.provider(name).enabled for name in self._providers}
        self._monotonic = monotonic
        self._asked: dict[str, tuple[float, asyncio.Task[ScraperStatus | None]]] = {}

    async def all(self) -> list[ProviderStatus]:
        """All configured providers, in order of preference. A scraper that does not answer does not delay the others."""
        return list(await asyncio.gather(*(self.one(name) for name in self._providers)))

    async def one(self, name: str) -> ProviderStatus:
        """A single provider. Raises UnknownComponent."""
        rank = self._rank(name)
        component = scraper_name(name)
        if component not in self._reconciler.table:
            return ProviderStatus(name, rank, self._enabled[name], ComponentState.STOPPED, "not enabled")
        seen = self._reconciler.component(component)
        try:
            scraper = await self._status(name)
        except CryptoVizError as error:
            return ProviderStatus(name, rank, self._enabled[name], seen.state, seen.message or error.message)
        return ProviderStatus(name, rank, self._enabled[name], seen.state, seen.message, scraper)

    async def trip(self, name: str, reason: str) -> ProviderStatus:
        """Open the provider's breaker until it is reset. Raises UnknownComponent; ControlRefused while its scraper does not run."""
        return await self._switch(name, "trip_breaker", reason)

    async def reset(self, name: str) -> ProviderStatus:
        """Close the provider's breaker and clear its hold. Raises as `trip`."""
        return await self._switch(name, "reset_breaker")

    async def _switch(self, name: str, method: str, *arguments: object) -> ProviderStatus:
        rank = self._rank(name)
        try:
            scraper = await self._ask(name, method, *arguments)
        except (ComponentLost, UnknownComponent) as error:
            raise ControlRefused(f"the scraper of {name} does not answer: {error.message}", code="FAILED_PRECONDITION") from None
        finally:
            self._asked.pop(name, None)  # the next call must see the effect
        if scraper is None:
            raise ControlRefused(f"the scraper of {name} has not started", code="FAILED_PRECONDITION")
        _log.info("breaker_switched", provider=name, method=method)
        seen = self._reconciler.component(scraper_name(name))
        return ProviderStatus(name, rank, self._enabled[name], seen.state, seen.message, scraper)

    async def _status(self, name: str) -> ScraperStatus | None:
        """The shared answer of a call to the scraper in progress, or that began within `_SHARED_S`."""
        now = self._monotonic()
        asked_s, task = self._asked.get(name, (now, None))
        if task is None or now - asked_s > _SHARED_S:
            task = asyncio.create_task(self._ask(name, "provider_status"))
            task.add_done_callback(_seen)
            self._asked[name] = (now, task)
        return await asyncio.shield(task)

    async def _ask(self, name: str, method: str, *arguments: object) -> ScraperStatus | None:
        return cast("ScraperStatus | None", await self._reconciler.call(scraper_name(name), method, *arguments))

    def _rank(self, name: str) -> int:
        if name not in self._providers:
            # Cut and quoted, because external input goes into logs and terminals.
            raise UnknownComponent(f"no provider {name[:64]!r}; valid: {', '.join(self._providers)}", component=name[:64])
        return self._providers.index(name) + 1


def _seen(task: asyncio.Task[ScraperStatus | None]) -> None:
    """Mark the error of a task as seen, if all callers have gone."""
    if not task.cancelled():
        task.exception()
