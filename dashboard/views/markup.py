"""HTML from parts. Every text goes through `text`, because names, messages and payloads come from outside."""

from __future__ import annotations

import html

__all__ = ["element", "text"]


def text(value: object) -> str:
    """`value` as text that cannot be markup."""
    return html.escape(str(value), quote=True)


def element(tag: str, content: str, classes: str = "", **attributes: object) -> str:
    """One element around `content`, which is markup already. Attribute names have `_` for `-`; values are escaped here."""
    parts = [f' class="{text(classes)}"'] if classes else []
    parts += [f' {name.rstrip("_").replace("_", "-")}="{text(value)}"' for name, value in attributes.items() if value is not None]
    return f"<{tag}{''.join(parts)}>{content}</{tag}>"
