"""All pages, in the order of their tabs. The first is the default."""

from __future__ import annotations

from dashboard.pages import alerts, coin, lake, markets, pipeline, providers, topics
from dashboard.pages.page import PageKind

__all__ = ["PAGES", "page_kind"]

PAGES: tuple[PageKind, ...] = (markets.KIND, coin.KIND, pipeline.KIND, providers.KIND, topics.KIND, lake.KIND, alerts.KIND)


def page_kind(name: str) -> PageKind | None:
    """The page of that name, None if there is none."""
    return next((kind for kind in PAGES if kind.name == name), None)
