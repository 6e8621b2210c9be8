"""The known venues: the built-ins, and the entry points of the group `cryptoviz.venues` that other packages bring."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract

from cryptoviz.errors import SettingsError
from cryptoviz.venues.base import StreamVenue
from cryptoviz.venues.binance import BinanceVenue
from cryptoviz.venues.coinbase import CoinbaseVenue
from cryptoviz.venues.kraken import KrakenVenue
from cryptoviz.venues.spec import VenueSpec

__all__ = ["BUILT_IN_VENUES", "ENTRY_POINT_GROUP", "VENUES_SETTING", "forget_loaded", "known_venues", "venue_of"]

ENTRY_POINT_GROUP = "cryptoviz.venues"
"""The group of entry points by which other packages bring venues."""
VENUES_SETTING = "CRYPTOVIZ_STREAMS__VENUES"
_BUILT_IN: dict[str, type[StreamVenue]] = {cls.spec.name: cls for cls in (BinanceVenue, KrakenVenue, CoinbaseVenue)}
BUILT_IN_VENUES: tuple[str, ...] = tuple(_BUILT_IN)


def known_venues() -> tuple[str, ...]:
    """Names of the built-ins, then of the entry points; the classes of the latter are not loaded."""
    others = {point.name for point in entry_points(group=ENTRY_POINT_GROUP)}
    return (*BUILT_IN_VENUES, *sorted(others - {*BUILT_IN_VENUES}))


def venue_of(name: str) -> StreamVenue:
    """A venue by name. A built-in is never replaced by an entry point of the same name.

    Raises:
        SettingsError: no such venue, or its entry point does not load or is not a `StreamVenue` of that name.
    """
    return _BUILT_IN[name]() if name in _BUILT_IN else _load(name)()


def forget_loaded() -> None:
    """Forget loaded entry points: for tests that install packages."""
    _load.cache_clear()


@cache
def _load(name: str) -> type[StreamVenue]:
    loaded = _object_of(_point(name))
    where = f"the entry point {name!r} of {ENTRY_POINT_GROUP}"
    if not (isinstance(loaded, type) and issubclass(loaded, StreamVenue)) or isabstract(loaded):
        text = f"{where} is {getattr(loaded, '__qualname__', type(loaded).__name__)}: valid is a subclass of StreamVenue with all of its methods"
        raise SettingsError(text, setting=VENUES_SETTING)
    spec = getattr(loaded, "spec", None)
    if not isinstance(spec, VenueSpec) or spec.name != name:
        found = repr(spec.name) if isinstance(spec, VenueSpec) else type(spec).__name__
        text = f"{where} is {loaded.__qualname__}, whose spec is {found}: valid is a VenueSpec with name={name!r}"
        raise SettingsError(text, setting=VENUES_SETTING)
    return loaded


def _point(name: str) -> EntryPoint:
    points = [point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name == name]
    if not points:
        raise SettingsError(f"streams.venues names {name!r}; known venues are {', '.join(sorted(known_venues()))}", setting=VENUES_SETTING)
    if len({point.value for point in points}) > 1:
        both = " and ".join(sorted(f"{point.value} of {point.dist.name if point.dist else 'a package'}" for point in points))
        raise SettingsError(f"the entry point {name!r} of {ENTRY_POINT_GROUP} is brought twice, as {both}: uninstall one", setting=VENUES_SETTING)
    return points[0]


def _object_of(point: EntryPoint) -> object:
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        what = f"the entry point {point.name!r} of {ENTRY_POINT_GROUP} does not load ({type(error).__name__}: {error})"
        raise SettingsError(f"{what}: mend its package, or leave it out of {VENUES_SETTING}", setting=VENUES_SETTING) from error
