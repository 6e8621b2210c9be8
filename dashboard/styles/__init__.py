"""Style sheets, read once. Components use shadow roots, so each needs its own sheet."""

from __future__ import annotations

from pathlib import Path

__all__ = ["LAYOUT", "PAGE", "PARTS", "TABLE", "TEMPLATE"]


def _read(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


PAGE = _read("page.css")
PARTS = _read("parts.css")
TABLE = PARTS + _read("table.css")
LAYOUT = _read("layout.css")
TEMPLATE = _read("page.html").replace("{{ age_script }}", f"{{% raw %}}{_read('age.js')}{{% endraw %}}")
"""The HTML template: panel-material-ui's, with the age script and the system's theme."""
