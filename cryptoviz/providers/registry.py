"""The known providers: the built-ins, and the entry points of the group `cryptoviz.providers` that other packages bring."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from functools import cache
from importlib.metadata import entry_points
from inspect import isabstract

from cryptoviz.audit import RECORDER
from cryptoviz.errors import SettingsError
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.binance import BinanceProvider
from cryptoviz.providers.coinbase import CoinbaseProvider
from cryptoviz.providers.coingecko import CoinGeckoProvider
from cryptoviz.providers.coinmarketcap import CoinMarketCapProvider
from cryptoviz.providers.coinpaprika import CoinPaprikaProvider
from cryptoviz.providers.history import HistorySource
from cryptoviz.providers.kraken import KrakenProvider
from cryptoviz.providers.spec import ProviderSpec

__all__ = [
    "BUILT_IN_PROVIDERS", "BUILT_IN_SPECS", "ENTRY_POINT_GROUP", "HISTORY_PATHS", "HISTORY_PROVIDERS", "display_name", "find_spec", "forget_loaded",
    "history_of", "known_providers", "provider_class", "spec_of", "with_history",
]  # fmt: skip

ENTRY_POINT_GROUP = "cryptoviz.providers"
"""The group of entry points by which other packages bring providers."""
_SETTING = "CRYPTOVIZ_COLLECT__PROVIDERS"
_loading: ContextVar[frozenset[str]] = ContextVar("loading", default=frozenset())
"""Entry points that the current thread is loading."""
_absent: set[str] = set()
"""Names that could not be loaded: a search of the installed packages takes milliseconds."""
_BUILT_IN: dict[str, type[BaseProvider]] = {
    cls.spec.name: cls for cls in (CoinGeckoProvider, CoinMarketCapProvider, BinanceProvider, KrakenProvider, CoinPaprikaProvider, CoinbaseProvider)
}
BUILT_IN_SPECS: tuple[ProviderSpec, ...] = tuple(cls.spec for cls in _BUILT_IN.values())
BUILT_IN_PROVIDERS: tuple[str, ...] = tuple(_BUILT_IN)
HISTORY_PROVIDERS: tuple[str, ...] = tuple(spec.name for spec in BUILT_IN_SPECS if spec.history is not None)
"""Built-ins with past prices that a backfill can read."""
HISTORY_PATHS: tuple[str, ...] = tuple(spec.history.path for spec in BUILT_IN_SPECS if spec.history is not None)
"""Paths of a backfill's raw exchanges, which do not prove a poll on the tick under which they are stored."""


def known_providers() -> tuple[str, ...]:
    """Names of the built-ins, then of the entry points; the classes of the latter are not loaded."""
    others = {point.name for point in entry_points(group=ENTRY_POINT_GROUP)}
    return (*BUILT_IN_PROVIDERS, *sorted(others - {*BUILT_IN_PROVIDERS, RECORDER}))


def provider_class(name: str) -> type[BaseProvider]:
    """The class of a provider. A built-in is never replaced by an entry point of the same name.

    Raises:
        SettingsError: no such provider, or its entry point does not load or is not a `BaseProvider` of that name.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    if name == RECORDER:
        raise SettingsError(f"{_SETTING} names {name!r}, under which ticks are recorded: call the provider otherwise", setting=_SETTING)
    return _load(name)


def spec_of(name: str) -> ProviderSpec:
    """The facts of a provider. Raises as `provider_class`."""
    return provider_class(name).spec


def find_spec(name: str) -> ProviderSpec | None:
    """The facts of a provider; None if its class cannot be loaded, as for records of a package that is no longer installed."""
    if name in _absent:
        return None
    try:
        return spec_of(name)
    except SettingsError:
        # A module that exists may be in the middle of its import and read the settings: it can be loaded later.
        if not any(point.module in sys.modules for point in entry_points(group=ENTRY_POINT_GROUP) if point.name == name):
            _absent.add(name)
        return None


def history_of(name: str) -> HistorySource | None:
    """Past prices of a provider; None if it has none or is unknown."""
    spec = find_spec(name)
    return None if spec is None else spec.history


def display_name(name: str) -> str:
    """Name for people; the name itself if the provider is unknown."""
    spec = find_spec(name)
    return name if spec is None else spec.display_name or name


def with_history() -> tuple[str, ...]:
    """Names of all known providers with past prices. Loads the classes of the entry points."""
    return tuple(name for name in known_providers() if history_of(name) is not None)


def forget_loaded() -> None:
    """Forget loaded entry points: for tests that install packages."""
    _load.cache_clear()
    _absent.clear()


@cache
def _load(name: str) -> type[BaseProvider]:
    points = [point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name == name]
    if not points:
        raise SettingsError(f"collect.providers names {name!r}; known providers are {', '.join(sorted(known_providers()))}", setting=_SETTING)
    where = f"the entry point {name!r} of {ENTRY_POINT_GROUP}"
    if len({point.value for point in points}) > 1:
        both = " and ".join(sorted(f"{point.value} of {point.dist.name if point.dist else 'a package'}" for point in points))
        raise SettingsError(f"{where} is brought twice, as {both}: uninstall one of the packages", setting=_SETTING)
    if name in _loading.get():
        raise SettingsError(f"its module uses the provider {name!r} while it is imported: valid is to use it in a function", setting=_SETTING)
    outer = _loading.set(_loading.get() | {name})
    try:
        loaded = points[0].load()
    except (Exception, SystemExit) as error:
        text = f"{where} does not load ({type(error).__name__}: {error}): mend its package, or leave {name!r} out of {_SETTING}"
        raise SettingsError(text, setting=_SETTING) from error
    finally:
        _loading.reset(outer)
    if not (isinstance(loaded, type) and issubclass(loaded, BaseProvider)):
        raise SettingsError(f"{where} is {getattr(loaded, '__qualname__', type(loaded).__name__)}, which is no BaseProvider", setting=_SETTING)
    if isabstract(loaded):
        raise SettingsError(f"{where} is {loaded.__qualname__}, which does not implement get_crypto_data", setting=_SETTING)
    spec = getattr(loaded, "spec", None)
    if not isinstance(spec, ProviderSpec) or spec.name != name:
        found = repr(spec.name) if isinstance(spec, ProviderSpec) else type(spec).__name__
        raise SettingsError(f"{where} is {loaded.__qualname__}, whose spec is {found}: valid is a ProviderSpec with name={name!r}", setting=_SETTING)
    return loaded
