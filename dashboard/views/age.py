"""How old the data on screen is, in ticks: the demo's 2 s and the live 60 s are judged alike.

The browser computes it, from the tick of what it shows and its own clock (`styles/age.js`): a message from here would say how old the data was when
it was sent, which a page that lags or slept shows much later.
"""

from __future__ import annotations

from dashboard.views.markup import element

__all__ = ["LATE_TICKS", "LIVE_TICKS", "age_element", "duration_element"]

# A tick shows 0.3-0.8 s after its slot, so one whole tick of age is the normal case: live ends at two.
LIVE_TICKS = 2
LATE_TICKS = 5


def age_element(tick_ts: int | None, tick_ms: int, classes: str, *, words: bool = False) -> str:
    """The age of a tick (UTC epoch ms; None: there is no row at all), with its class in words when there is room for them."""
    return element(
        "cv-age", "", classes, data_tick=tick_ts, data_live=LIVE_TICKS * tick_ms, data_late=LATE_TICKS * tick_ms, data_words="" if words else None
    )


def duration_element(since_ms: int, classes: str, title: str) -> str:
    """The time since a moment (UTC epoch ms), which nothing judges."""
    return element("cv-age", "", classes, data_tick=since_ms, title=title)
