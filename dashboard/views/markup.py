"""HTML construction. Every text passes through `text`, because names, messages and payloads are external input.

The age of displayed data counts in ticks, so that the demo (2 s) and live (60 s) use the same thresholds. The browser computes it from the displayed
tick and its own clock (`web/age.js`), because an age sent by the server would be wrong after a delay.
"""

from __future__ import annotations

import html
import re

__all__ = ["LATE_TICKS", "LIVE_TICKS", "age_element", "breaking_text", "duration_element", "element", "text"]

# A tick is displayed 0.3-0.8 s after its slot, so an age of a whole tick is normal: live ends at two.
LIVE_TICKS = 2
LATE_TICKS = 5


def text(value: object) -> str:
    """`value` as escaped text."""
    return html.escape(str(value), quote=True)


# Behind a separator beside a letter: a number such as 1.5 or -5, a date and an address of digits stay whole.
_PLACES = re.compile(r"(?<=[^\W\d_][-_./])(?=\w)|(?<=\w[-_./])(?=[^\W\d_])")
_NO_PLACE = re.compile(r"[^\s/._-]{21,}")
"""A key or a hash: longer than a word, and than the narrowest column."""


def breaking_text(value: object) -> str:
    """`value` as escaped text that a line may end in at spaces and behind `/`, `-`, `_` and `.`, in columns that break no words."""
    return "<wbr>".join(_pieces(part) for part in _PLACES.split(str(value)))


def _pieces(part: str) -> str:
    last, shown = 0, ""
    for found in _NO_PLACE.finditer(part):
        shown += text(part[last : found.start()]) + element("span", text(found[0]), "cv-any")
        last = found.end()
    return shown + text(part[last:])


def element(tag: str, content: str, classes: str = "", **attributes: object) -> str:
    """An element around `content`, which must be markup. `_` in attribute names becomes `-`; attribute values are escaped."""
    parts = [f' class="{text(classes)}"'] if classes else []
    parts += [f' {name.rstrip("_").replace("_", "-")}="{text(value)}"' for name, value in attributes.items() if value is not None]
    return f"<{tag}{''.join(parts)}>{content}</{tag}>"


def age_element(tick_ts: int | None, tick_ms: int, classes: str, *, words: bool = False) -> str:
    """Element with the age of a tick (UTC epoch ms; None: no data), optionally with its class in words."""
    return element(
        "cv-age", "", classes, data_tick=tick_ts, data_live=LIVE_TICKS * tick_ms, data_late=LATE_TICKS * tick_ms, data_words="" if words else None
    )


def duration_element(since_ms: int, classes: str, title: str) -> str:
    """Element with the time since a moment (UTC epoch ms), without thresholds."""
    return element("cv-age", "", classes, data_tick=since_ms, title=title)
