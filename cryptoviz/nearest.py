"""Suggestions for misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def nearest(name: str, valid: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The most similar valid name, ignoring case; None if no name is similar."""
    by_lower = {one.lower(): one for one in valid}
    found = difflib.get_close_matches(name.strip().lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Suggestion to append to an invalid name; empty if no valid name is similar."""
    near = nearest(name, valid)
    return "" if near is None else f" (did you mean {near}?)"
