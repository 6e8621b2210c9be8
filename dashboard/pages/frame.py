"""The HTML that a browser gets: the frame with the places of all parts, and their first content as data for the page's script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment

from dashboard.browser_files import CHART, LIBRARIES, SCRIPT, STYLE, TRADES
from dashboard.delivery import LONGEST_TEXT
from dashboard.pages.page import PageKind
from dashboard.views.link import Link
from dashboard.views.texts import LANGUAGES, catalogue, texts

__all__ = ["TEMPLATE", "page_variables"]

TEMPLATE = Environment(autoescape=True).from_string((Path(__file__).parents[1] / "web" / "page.html").read_text(encoding="utf-8"))
"""Bokeh's template of a document. It loads none of Bokeh's scripts: `web/core.js` does, after the first paint."""


def page_variables(link: Link, pages: Sequence[PageKind], first: dict[str, Any], first_id: str) -> dict[str, Any]:
    """Variables of `TEMPLATE`."""
    streams = any(kind.name == "trades" for kind in pages)
    data = {
        "parts": first,
        "first": first_id,
        "link": {"coin": link.coin, "tf": link.interval, "view": link.view},
        "language": link.language,
        "longest": LONGEST_TEXT,
        "texts": {key: words for key, words in catalogue(link.language).items() if streams or not key.startswith("tr_")},
        "libraries": LIBRARIES.url,
        "chart": CHART.url,
        "pages": {kind.name: kind.beside for kind in pages},
    }
    return {
        "language": link.language,
        "other_language": next(language for language in LANGUAGES if language != link.language),
        "t": texts(link.language),
        "pages": pages,
        "frames": {kind.name: kind.frame(link.language) for kind in pages},
        "trades": TRADES.url if streams else "",
        "shown": link.view,
        "beside": next((kind.beside for kind in pages if kind.name == link.view), ""),
        "style": STYLE.url,
        "script": SCRIPT.url,
        "libraries": LIBRARIES.url,
        "first": script_data(data),
    }


def script_data(data: Any) -> str:
    """JSON for the inside of a script element: no text in it can end the element or begin another."""
    return orjson.dumps(data).decode().replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
