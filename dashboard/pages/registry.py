"""All pages, in the order of their tabs. The first is the default, which there always is."""

from __future__ import annotations

from cryptoviz.settings import Settings
from dashboard.pages import alerts, coin, lake, markets, pipeline, providers, topics, trades
from dashboard.pages.page import PageKind

__all__ = ["PAGES", "page_kind", "pages_of"]

PAGES: tuple[PageKind, ...] = (
    markets.KIND, coin.KIND, trades.KIND, pipeline.KIND, providers.KIND, topics.KIND, lake.KIND, alerts.KIND,
)  # fmt: skip


def pages_of(settings: Settings) -> tuple[PageKind, ...]:
    """The pages that there are with these settings."""
    return tuple(kind for kind in PAGES if kind.when(settings))


def page_kind(name: str, kinds: tuple[PageKind, ...] = PAGES) -> PageKind | None:
    """The page of that name, None if there is none."""
    return next((kind for kind in kinds if kind.name == name), None)
