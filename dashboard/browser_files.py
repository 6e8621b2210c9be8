"""The browser's files: the page's own script and style sheet, and those of the libraries. Named by the hash of their content, compressed once.

What is not used is not sent: of Bokeh and Panel only the scripts of the page's channel, in one file, loaded after the first prices are painted.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import threading
from collections.abc import Callable
from functools import cached_property
from http import HTTPStatus
from pathlib import Path

import bokeh
import panel as pn
from tornado.web import RequestHandler

__all__ = ["CHART", "FILES", "LIBRARIES", "PATH", "SCRIPT", "STYLE", "TRADES", "BrowserFile", "FileHandler"]

PATH = "/assets/"
_WEB = Path(__file__).parent / "web"
_A_YEAR_S = 31_536_000
_OWN_SCRIPTS = ("age.js", "core.js", "format.js", "table.js", "markets.js", "chart.js", "coin.js", "explore.js")
_OWN_STYLES = ("theme.css", "parts.css", "layout.css", "markets.css", "coin.css", "explore.css", "trades.css")


def _library_files() -> list[Path]:
    """In the order in which they run. Panel's script refers to models of Bokeh's widgets and tables."""
    scripts, dist = Path(bokeh.__file__).parent / "server" / "static" / "js", Path(pn.__file__).parent / "dist"
    (shims,) = dist.glob("bundled/reactiveesm/es-module-shims@*/dist/es-module-shims.min.js")
    return [shims, *(scripts / f"{name}.min.js" for name in ("bokeh", "bokeh-widgets", "bokeh-tables")), dist / "panel.min.js"]


class BrowserFile:
    """Files joined into one, read at the first request."""

    def __init__(self, name: str, files: Callable[[], list[Path]]) -> None:
        self._stem, self._kind = name.split(".")
        self._files = files
        self._lock = threading.Lock()

    @property
    def content_type(self) -> str:
        return {"js": "text/javascript", "css": "text/css"}[self._kind] + "; charset=utf-8"

    @cached_property
    def content(self) -> bytes:
        """A source map would be requested by developer tools only, and is not served."""
        return (b";\n" if self._kind == "js" else b"\n").join(path.read_bytes() for path in self._files())

    @cached_property
    def name(self) -> str:
        """With the hash: another content has another name, so browsers keep the file for a year."""
        return f"{self._stem}.{hashlib.sha256(self.content).hexdigest()[:16]}.{self._kind}"

    @property
    def url(self) -> str:
        """Relative to the page."""
        return f"{PATH[1:]}{self.name}"

    @property
    def compressed(self) -> bytes:
        with self._lock:  # of several first requests one compresses
            return self._compressed

    @cached_property
    def _compressed(self) -> bytes:
        return gzip.compress(self.content, 9, mtime=0)


SCRIPT = BrowserFile("page.js", lambda: [_WEB / name for name in _OWN_SCRIPTS])
STYLE = BrowserFile("page.css", lambda: [_WEB / name for name in _OWN_STYLES])
LIBRARIES = BrowserFile("libraries.js", _library_files)
CHART = BrowserFile("chart.js", lambda: [_WEB / "vendor" / "lightweight-charts.standalone.production.js"])
TRADES = BrowserFile("trades.js", lambda: [_WEB / "trades.js"])
"""Loaded only while streams are on."""
FILES = (SCRIPT, STYLE, LIBRARIES, CHART, TRADES)


class FileHandler(RequestHandler):
    """Serves `FILES` by name."""

    async def get(self, name: str) -> None:
        found = next((each for each in FILES if each.name == name), None)
        if found is None:
            self.set_status(HTTPStatus.NOT_FOUND)
            return
        self.set_header("Content-Type", found.content_type)
        self.set_header("Cache-Control", f"public, max-age={_A_YEAR_S}, immutable")
        self.set_header("Vary", "Accept-Encoding")
        if "gzip" in self.request.headers.get("Accept-Encoding", ""):
            self.set_header("Content-Encoding", "gzip")
            self.write(await asyncio.get_running_loop().run_in_executor(None, lambda: found.compressed))
        else:
            self.write(found.content)

    head = get
