"""The folder of downloads and builds: what lies in it is run and loaded, so nobody else may have made or changed it."""

from __future__ import annotations

from cryptoviz.errors import SettingsError
from cryptoviz.ownership import Fault, make_private, owner_or_root, path_fault, tree_fault
from cryptoviz.settings import Settings

__all__ = ["ENGINE_FILES", "cache_fault", "make_cache", "require_own_cache"]

SETTING = "CRYPTOVIZ_CACHE"
ENGINE_FILES = ("jars", "minio", "fetch.lock")
"""Entries of the cache that the engines are started from, or that are written while it is filled."""
_DEPTH = 64
"""More levels than there are: what a build left unfinished goes into the next one."""


def cache_fault(settings: Settings, names: tuple[str, ...] = ENGINE_FILES) -> Fault | None:
    """Why nothing may be run from the cache; None when all is this user's or root's, as in a folder that root shares, or there is nothing yet."""
    if fault := path_fault(settings.cache, owner_or_root()):
        return fault
    faults = (tree_fault(settings.cache / name, owner_or_root(), _DEPTH, may_leave=True) for name in names)
    return next((fault for fault in faults if fault), None)


def require_own_cache(settings: Settings, names: tuple[str, ...] = ENGINE_FILES) -> None:
    """Raises SettingsError, which names the entry and what to do, when `cache_fault` says so. Before anything is run or loaded from there."""
    if fault := cache_fault(settings, names):
        remedy = f"or choose another {SETTING}; what is missing there is fetched and built"
        raise SettingsError(f"{SETTING} is {str(settings.cache)!r}, and {fault}; {remedy}", setting=SETTING)


def make_cache(settings: Settings) -> None:
    """Make the folder, for this user alone. Raises as `require_own_cache`."""
    require_own_cache(settings)
    make_private(settings.cache)
    require_own_cache(settings)  # in a folder that all users share, another may have been faster
