"""Chromium for tests and benchmarks of pages."""

from __future__ import annotations

import shutil

from playwright.sync_api import Browser, Playwright

__all__ = ["launch_chromium"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ARGUMENTS = [
    "--no-sandbox",  # the suite runs as root in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.example 127.0.0.1",  # names that a hostile page has rebound to loopback
]


def launch_chromium(playwright: Playwright) -> Browser:
    """Debian's Chromium, or Chrome, from the PATH; otherwise Playwright's own, installed by `make test`."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    return playwright.chromium.launch(executable_path=found, args=_ARGUMENTS, timeout=180_000)
