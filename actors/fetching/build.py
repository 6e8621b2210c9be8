"""Make a provider from the settings."""

from __future__ import annotations

from actors.fetching.hold_off import Limiter, MinIntervalLimiter
from actors.fetching.http import HttpFetcher, HttpLimits, Recorder, open_client
from cryptoviz.clock import Clock
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.registry import provider_class
from cryptoviz.settings import Settings

__all__ = ["ATTEMPT_SHARE", "build_provider"]

ATTEMPT_SHARE = 0.75
"""Longest share of a tick that one attempt may take: the collector must still have time to fall back within the tick."""


def build_provider(name: str, settings: Settings, clock: Clock, recorder: Recorder, limiter: Limiter | None = None) -> BaseProvider:
    """A provider ready to poll; opens no connection.

    `limiter`: of `build_protection`, shared by all users on the node; by default only the minimum interval applies.

    Raises:
        SettingsError: no such provider, or a plan without its key.
    """
    cls, own = provider_class(name), settings.provider(name)
    fetcher = HttpFetcher(
        provider=name,
        client=open_client(cls.spec.root(own), settings.network),
        limits=HttpLimits(min(own.timeout_s, ATTEMPT_SHARE * settings.collect.tick_s), own.max_body_bytes),
        limiter=limiter or MinIntervalLimiter(cls.spec.interval_s(own), clock),
        clock=clock,
        recorder=recorder,
        secrets=own.secrets_sent(settings.network),
        status_reasons=cls.spec.status_reasons,
    )
    provider = cls(own, fetcher, clock)
    provider.auth_headers()  # a plan without its key is refused now, not at the first poll
    return provider
