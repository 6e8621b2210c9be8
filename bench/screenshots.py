"""Pictures of every page of a running pipeline, for the docs: `python -m bench.screenshots [ADDRESS]`, or `make screenshots`.

In both themes, at 1440 and 390 pixels, as `docs/images/pages/<page>-<width>-<theme>.png`. The pipeline should run for some minutes before, with
streams on, so that every page has something to show.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from dashboard.pages.registry import PAGES
from tests.support.browser import launch_chromium

__all__ = ["main"]

_FOLDER = Path(__file__).parents[1] / "docs" / "images" / "pages"
_SIZES = ((1440, 900), (390, 844))
_THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_COLORS = 160
_SETTLE_MS = 2500


def _coin(page: Page) -> None:
    page.locator(".cv-chart-place canvas").first.wait_for(state="attached")


def _pipeline(page: Page) -> None:
    page.locator(".cv-act-log").first.wait_for(state="attached")


def _topics(page: Page) -> None:
    page.locator(".cv-link").first.click()
    page.locator(".cv-record summary").first.click()


def _lake(page: Page) -> None:
    page.locator(".cv-days").wait_for(state="attached")
    page.locator(".cv-queries").select_option(index=1)
    page.locator(".cv-run-sql").click()
    page.locator(".cv-trace").click()
    page.locator(".cv-sql-note").wait_for(state="attached")
    page.locator(".cv-provenance").wait_for(state="attached")


_READY: dict[str, Callable[[Page], None]] = {
    "market": lambda page: page.locator(".cv-price").first.wait_for(),
    "coin": _coin,
    "trades": lambda page: page.locator(".cv-tape tbody tr").first.wait_for(state="attached"),
    "pipeline": _pipeline,
    "providers": lambda page: page.locator(".cv-providers-table").wait_for(state="attached"),
    "topics": _topics,
    "lake": _lake,
    "alerts": lambda page: page.locator("#cv-page-alerts form").first.wait_for(state="attached"),
}


def _take(browser: Browser, address: str, folder: Path, view: str, width: int, height: int, theme: Literal["light", "dark"]) -> None:
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
    page = context.new_page()
    page.goto(f"{address}/?view={view}&coin=bitcoin&tf=1m")
    page.locator(f"#cv-page-{view} .cv-card").first.wait_for(state="attached")
    _READY[view](page)
    page.wait_for_timeout(_SETTLE_MS)
    picture = Image.open(io.BytesIO(page.screenshot(full_page=view in ("lake", "topics")))).convert("RGB")
    picture.quantize(_COLORS).save(folder / f"{view}-{width}-{theme}.png", optimize=True)
    context.close()


def main(address: str = "http://127.0.0.1:5006", folder: Path = _FOLDER) -> int:
    """Take all pictures again. A page that the pipeline does not have (streams off) is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        page = browser.new_page()
        page.goto(address)
        tabs = {str(tab.get_attribute("data-view")) for tab in page.locator("[role=tab]").all()}
        page.close()
        for kind in PAGES:
            if kind.name not in tabs:
                sys.stdout.write(f"{kind.name}: the pipeline has no such page\n")
                continue
            for width, height in _SIZES:
                for theme in _THEMES:
                    _take(browser, address, folder, kind.name, width, height, theme)
            sys.stdout.write(f"{kind.name}\n")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) if len(sys.argv) > 1 else main())
