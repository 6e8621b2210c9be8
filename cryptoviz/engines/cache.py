"""Ownership of the cache directory of downloads and builds: its files are run and loaded, so no other user may have created or changed them."""

from __future__ import annotations

from cryptoviz.errors import SettingsError
from cryptoviz.local.ownership import Fault, make_private, owner_or_root, path_fault, tree_fault
from cryptoviz.settings import Settings

__all__ = ["ENGINE_FILES", "FETCH_LOCK", "cache_fault", "make_cache", "require_own_cache"]

SETTING = "CRYPTOVIZ_CACHE"
FETCH_LOCK = "fetch.lock"
ENGINE_FILES = ("jars", "minio", "class-archives", FETCH_LOCK)
"""Entries of the cache that engines are started from, or that a download or build writes."""
_DEPTH = 64
"""More levels than exist. All are checked, because the next build resumes from the files of an unfinished build."""


def cache_fault(settings: Settings, names: tuple[str, ...] = ENGINE_FILES) -> Fault | None:
    """Why nothing may be run from the cache. None if everything belongs to this user or root (root may share a cache), or the cache is empty."""
    if fault := path_fault(settings.cache, owner_or_root()):
        return fault
    faults = (tree_fault(settings.cache / name, owner_or_root(), _DEPTH, may_leave=True) for name in names)
    return next((fault for fault in faults if fault), None)


def require_own_cache(settings: Settings, names: tuple[str, ...] = ENGINE_FILES) -> None:
    """Raises SettingsError with the entry and the remedy if `cache_fault` finds a fault. Called before anything is run or loaded from the cache."""
    if fault := cache_fault(settings, names):
        remedy = f"or choose another {SETTING}; what is missing there is fetched and built"
        raise SettingsError(f"{SETTING} is {str(settings.cache)!r}, and {fault}; {remedy}", setting=SETTING)


def make_cache(settings: Settings) -> None:
    """Create the directory, accessible only to this user. Raises as `require_own_cache` does."""
    require_own_cache(settings)
    make_private(settings.cache)
    require_own_cache(settings)  # again: in a directory shared by all users, another user may have been faster
