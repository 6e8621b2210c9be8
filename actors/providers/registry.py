"""Which providers there are: the built-ins, and those that other packages bring as entry points of the group `cryptoviz.providers`."""

from __future__ import annotations

from importlib.metadata import entry_points

from actors.providers.base import BaseProvider
from actors.providers.binance import BinanceProvider
from actors.providers.coinbase import CoinbaseProvider
from actors.providers.coingecko import CoinGeckoProvider
from actors.providers.coinmarketcap import CoinMarketCapProvider
from actors.providers.coinpaprika import CoinPaprikaProvider
from actors.providers.hold_off import Limiter, MinIntervalLimiter
from actors.providers.http import HttpFetcher, HttpLimits, Recorder, open_client
from actors.providers.kraken import KrakenProvider
from cryptoviz.audit import RECORDER
from cryptoviz.clock import Clock
from cryptoviz.errors import SettingsError
from cryptoviz.settings import PROVIDER_ENTRY_POINTS, ProviderSettings, Settings

__all__ = ["ATTEMPT_SHARE", "ENTRY_POINT_GROUP", "build_provider", "min_interval_s", "provider_class"]

ENTRY_POINT_GROUP = PROVIDER_ENTRY_POINTS
ATTEMPT_SHARE = 0.75
"""Longest share of a tick that one attempt may take: the collector must still have time to fall back within the tick."""
_BUILT_IN: dict[str, type[BaseProvider]] = {
    cls.name: cls for cls in (CoinGeckoProvider, CoinMarketCapProvider, BinanceProvider, KrakenProvider, CoinPaprikaProvider, CoinbaseProvider)
}


def provider_class(name: str) -> type[BaseProvider]:
    """The class of a provider. A built-in is never replaced by an entry point of the same name.

    Raises:
        SettingsError: no such provider, or its entry point is not a `BaseProvider`.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    if name == RECORDER:
        raise SettingsError(f"collect.providers names {name!r}, under which ticks are recorded: call it otherwise", setting="collect.providers")
    others = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in others:
        known = ", ".join(sorted({*_BUILT_IN, *others}))
        raise SettingsError(f"collect.providers names {name!r}; known providers are {known}", setting="collect.providers")
    loaded = others[name].load()
    if not (isinstance(loaded, type) and issubclass(loaded, BaseProvider)):
        raise SettingsError(f"the entry point {name!r} of {ENTRY_POINT_GROUP} is {loaded!r}, which is no BaseProvider", setting="collect.providers")
    return loaded


def min_interval_s(cls: type[BaseProvider], own: ProviderSettings) -> float:
    """Shortest time between two calls: the setting, else the provider's own; none at another `base_url`."""
    if own.min_interval_s is not None:
        return own.min_interval_s
    return 0.0 if own.base_url else cls.default_min_interval_s


def build_provider(name: str, settings: Settings, clock: Clock, recorder: Recorder, limiter: Limiter | None = None) -> BaseProvider:
    """A provider ready to poll; opens no connection.

    `actors.protection.guards.build_guards` makes the limiter that everything on the node shares; without one only the minimum interval is kept.

    Raises:
        SettingsError: no such provider, or a plan without its key.
    """
    cls, own = provider_class(name), settings.provider(name)
    base_url = cls.resolve_base_url(own)
    fetcher = HttpFetcher(
        provider=name,
        client=open_client(base_url, settings.network),
        limits=HttpLimits(min(own.timeout_s, ATTEMPT_SHARE * settings.collect.tick_s), own.max_body_bytes),
        limiter=limiter or MinIntervalLimiter(min_interval_s(cls, own), clock),
        clock=clock,
        recorder=recorder,
        secrets=own.secrets_sent(settings.network),
        status_reasons=cls.status_reasons,
    )
    provider = cls(own, fetcher, clock)
    provider.auth_headers()  # a plan without its key is told now, not at the first poll
    return provider
