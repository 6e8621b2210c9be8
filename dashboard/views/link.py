"""Deep links: `?coin=bitcoin&tf=1m&view=pipeline`, with validation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from cryptoviz.lake.ohlcv import INTERVALS_MS

__all__ = ["VIEWS", "Link", "parse_link"]

VIEWS: tuple[str, ...] = ("market", "pipeline")


@dataclass(frozen=True, slots=True)
class Link:
    """The selection of a page."""

    coin: str
    interval: str
    view: str

    def query(self) -> str:
        """The query string, with its question mark."""
        return f"?coin={self.coin}&tf={self.interval}" + (f"&view={self.view}" if self.view != VIEWS[0] else "")


def parse_link(arguments: dict[str, str], coins: Collection[str]) -> Link:
    """The valid values of the link; defaults are the first coin, 1m and the market view."""
    coin, interval, view = (arguments.get(key, "").lower() for key in ("coin", "tf", "view"))
    return Link(
        coin=coin if coin in coins else next(iter(coins), ""),
        interval=interval if interval in INTERVALS_MS else "1m",
        view=view if view in VIEWS else VIEWS[0],
    )
