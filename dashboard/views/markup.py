"""HTML construction. Every text passes through `text`, because names, messages and payloads are external input."""

from __future__ import annotations

import html

__all__ = ["element", "text"]


def text(value: object) -> str:
    """`value` as escaped text."""
    return html.escape(str(value), quote=True)


def element(tag: str, content: str, classes: str = "", **attributes: object) -> str:
    """An element around `content`, which must be markup. `_` in attribute names becomes `-`; attribute values are escaped."""
    parts = [f' class="{text(classes)}"'] if classes else []
    parts += [f' {name.rstrip("_").replace("_", "-")}="{text(value)}"' for name, value in attributes.items() if value is not None]
    return f"<{tag}{''.join(parts)}>{content}</{tag}>"
