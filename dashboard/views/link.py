"""Deep links: `?coin=bitcoin&tf=1m&view=pipeline&lang=fr`, with validation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from cryptoviz.lake.ohlcv import INTERVALS_MS
from dashboard.views.texts import LANGUAGES, language_of

__all__ = ["Link", "parse_link"]


@dataclass(frozen=True, slots=True)
class Link:
    """The selection of a page."""

    coin: str
    interval: str
    view: str
    language: str = LANGUAGES[0]


def parse_link(arguments: dict[str, str], coins: Collection[str], views: Collection[str], accepted_languages: str = "") -> Link:
    """The valid values of the link; defaults are the first coin, 1m, the first view and the browser's first language of `LANGUAGES`."""
    coin, interval, view, language = (arguments.get(key, "").lower() for key in ("coin", "tf", "view", "lang"))
    return Link(
        coin=coin if coin in coins else next(iter(coins), ""),
        interval=interval if interval in INTERVALS_MS else "1m",
        view=view if view in views else next(iter(views), ""),
        language=language if language in LANGUAGES else language_of(accepted_languages),
    )
