"""Compares the configured ids with the provider's listing: at start after the first good poll, then daily, within the shared rate limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import orjson

from actors.fetching.http import HttpFetcher, HttpLimits, open_client
from actors.protection.provider_protection import ProviderProtection
from cryptoviz.assets import Asset
from cryptoviz.clock import Clock, steady_ms
from cryptoviz.components import scraper_name
from cryptoviz.errors import CryptoVizError, ProviderFailure
from cryptoviz.local.private import write_private
from cryptoviz.log import get_logger
from cryptoviz.masking import mask_urls
from cryptoviz.provider_status import IdsStatus
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.failures import bounded_wait_s
from cryptoviz.providers.fetcher import CallLog
from cryptoviz.providers.response import HttpResponse
from cryptoviz.records import FallbackReason
from cryptoviz.settings import NetworkSettings, ProviderSettings

__all__ = ["CHECK_EVERY_S", "FIRST_RETRY_S", "ListingCheck"]

T = TypeVar("T")

CHECK_EVERY_S = 86_400.0
"""Listings and delistings are announced days ahead. A restart within this time makes no call."""
FIRST_RETRY_S = 600.0
"""Wait after a failed call; doubled up to `quota.look_up_s`, because CoinGecko also counts failed calls."""
LONGEST_TURN_S = 60.0
"""Maximum wait for the local rate limit; polls take precedence."""
LIST_TIMEOUT_S = 30.0
"""A list can have several MB, and no tick waits for it. Without a list, unlisted ids are found from poll responses."""


class ListingCheck:
    """Listing check of one provider, for one event loop. Stores its findings in the provider's `ids`.

    Args:
        path: file that keeps the listing states of the ids across restarts.
        network: proxy and certificates; a direct connection without it.
    """

    def __init__(
        self,
        provider: BaseProvider,
        assets: Sequence[Asset],
        protection: ProviderProtection,
        settings: ProviderSettings,
        clock: Clock,
        path: Path,
        network: NetworkSettings | None = None,
    ) -> None:
        self._provider = provider
        self._ids = provider.ids_of([asset for asset in assets if provider.id_of(asset) is not None])
        self._protection = protection
        self._settings = settings
        self._clock = clock
        self._path = path
        self._network = network or NetworkSettings()
        self._log = get_logger(scraper_name(provider.name))
        self._polled = asyncio.Event()
        self._checked_ms: int | None = None
        self._note = ""
        self._logged = ""
        self._failures = 0

    @property
    def status(self) -> IdsStatus:
        return IdsStatus(self._checked_ms, self._note, self._provider.ids.problems)

    def polled(self) -> None:
        """A poll succeeded: the provider is reachable, and a check no longer competes with the first tick."""
        self._polled.set()

    async def run(self) -> None:
        """Check repeatedly until cancelled. Returns if the provider has no listing."""
        wait_s: float | None = self._restore()
        while wait_s is not None:
            self._log_change()
            if self._note or self._provider.ids.problems:
                wait_s = min(wait_s, self._settings.quota.look_up_s)
            await self._clock.sleep(wait_s)
            await self._polled.wait()
            wait_s = await self._look_up()

    async def _look_up(self) -> float | None:
        """Read the listing. Returns the seconds until the next check; None if the provider has no listing."""
        provider, own = self._provider, self._settings
        # Without a recorder: a listing is not market data.
        log = CallLog()
        fetcher = HttpFetcher(
            provider=provider.name,
            client=open_client(provider.base_url, self._network),
            limits=HttpLimits(LIST_TIMEOUT_S, own.max_body_bytes),
            limiter=self._protection.limiter.weighing(provider.spec.listing_weight, LONGEST_TURN_S),
            clock=self._clock,
            secrets=own.secrets_sent(self._network),
            status_reasons=provider.spec.status_reasons,
        )

        async def fetch(path: str, params: Mapping[str, str], parse: Callable[[HttpResponse], T]) -> T:
            return await fetcher.get(f"{provider.base_url}{path}", params, provider.auth_headers(), parse, log=log)

        try:
            found = await provider.listed(tuple(self._ids), fetch)
        except CryptoVizError as error:
            return self._failed(error, sent=log.sent)
        finally:
            await fetcher.aclose()
        if found is None:
            return None
        states = {provider_id: found.get(provider_id) for provider_id in self._ids}
        self._set(states, self._clock.now_ms())
        self._keep(states)
        return CHECK_EVERY_S

    def _failed(self, error: CryptoVizError, *, sent: bool) -> float:
        """A rate limit or quota refusal also holds the polls. Other failures may concern only the listing, and do not."""
        failed = error if isinstance(error, ProviderFailure) else None
        reason, asked_s, own = (failed.reason, failed.retry_after_s, self._settings) if failed else (None, None, self._settings)
        if sent and reason in (FallbackReason.RATE_LIMITED, FallbackReason.QUOTA):
            longest_s = own.quota.max_wait_s if reason is FallbackReason.QUOTA else own.max_wait_s
            self._protection.hold_off.impose(reason, bounded_wait_s(asked_s, own.rate_limit_wait_s, longest_s), steady_ms(self._clock))
        self._note = error.message
        self._log.warning("list_of_ids_not_had", provider=self._provider.name, reason=error.message)
        self._failures += 1
        return min(CHECK_EVERY_S, FIRST_RETRY_S * (1 << min(self._failures - 1, 16)))

    def _set(self, states: Mapping[str, str | None], checked_ms: int) -> None:
        self._checked_ms, self._note, self._failures = checked_ms, "", 0
        self._provider.ids.listed(self._ids, states)

    def _log_change(self) -> None:
        text = self.status.text(self._provider.name)
        if text != self._logged:
            self._logged = text
            self._log.warning("ids_without_a_price", provider=self._provider.name, ids=text or "none any more")

    def _restore(self) -> float:
        """Restore findings of the last day if they cover all present ids. Returns the seconds until the next check."""
        try:
            kept = orjson.loads(self._path.read_bytes())
            states, checked_ms = {str(name): state for name, state in kept["ids"].items()}, int(kept["checked_ms"])
            same = kept["base_url"] == mask_urls(self._provider.base_url) and states.keys() >= self._ids.keys()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return 0.0
        left_s = CHECK_EVERY_S - (self._clock.now_ms() - checked_ms) / 1000
        if not same or not 0 < left_s <= CHECK_EVERY_S:
            return 0.0
        self._set({name: states[name] for name in self._ids}, checked_ms)
        return left_s

    def _keep(self, states: Mapping[str, str | None]) -> None:
        """Write the findings: at most 100 bytes per coin, so that no thread is needed."""
        kept = {"base_url": mask_urls(self._provider.base_url), "checked_ms": self._checked_ms, "ids": states}
        try:
            write_private(self._path, orjson.dumps(kept).decode())
        except OSError as error:
            self._log.warning("list_of_ids_not_kept", path=str(self._path), error=error.strerror)
