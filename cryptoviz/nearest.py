"""The nearest valid names to one that is not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def nearest(name: str, valid: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The valid name that is most like this one in any case of its letters; None when none is like it."""
    by_lower = {one.lower(): one for one in valid}
    found = difflib.get_close_matches(name.strip().lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Words to put behind a name that is not valid; empty when nothing is like it."""
    near = nearest(name, valid)
    return "" if near is None else f" (did you mean {near}?)"
