"""Flow control to a browser: at most one state message is in flight per page, so that a slow page has no backlog.

It uses two invisible models: the server writes a number into the first with each state message; the browser, which applies messages in order,
acknowledges with that number and its clock in the second. The acknowledgements also give the offset between the clocks of server and browser.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import panel as pn
from bokeh.layouts import column
from bokeh.models import CustomJS
from bokeh.models.widgets.markups import Div

__all__ = ["Acknowledgements", "Delivery"]

_SAMPLES = 8
_TOLERATED_MS = 300  # a smaller clock offset does not visibly change an age

_ANSWER = """
const [number, ahead] = sent.text.split(" ")
if (ahead !== "") window.cvClock.set(Number(ahead))
answer.text = `${number} ${Date.now()}`
"""


class Acknowledgements:
    """Messages in flight and clock offset. Pure: times are passed in, ms."""

    def __init__(self) -> None:
        self._number = 0
        self._sent_at: tuple[int, float, int] | None = None
        self._samples: deque[tuple[float, float]] = deque(maxlen=_SAMPLES)  # round trip, lead of the server's clock
        self._announced = 0.0

    @property
    def outstanding(self) -> bool:
        """Whether the last message is not acknowledged yet."""
        return self._sent_at is not None

    def send(self, monotonic_ms: float, now_ms: int) -> str:
        """Mark of the next message: its number and, if changed, the lead of the server's clock."""
        self._number += 1
        self._sent_at = (self._number, monotonic_ms, now_ms)
        return f"{self._number} {self._news()}"

    def receive(self, answer: str, monotonic_ms: float) -> bool:
        """Process an acknowledgement (untrusted input); return whether it is the expected one."""
        number, _, browser_ms = answer.partition(" ")
        if self._sent_at is None or number != str(self._sent_at[0]) or not (browser_ms.isascii() and browser_ms.isdecimal()) or len(browser_ms) > 15:
            return False
        _, sent_ms, sent_now = self._sent_at
        trip = monotonic_ms - sent_ms
        self._samples.append((trip, sent_now + trip / 2 - int(browser_ms)))
        self._sent_at = None
        return True

    def forget(self) -> None:
        """Reset after a reconnect: the message in flight was lost or shown."""
        self._sent_at = None

    def _news(self) -> str:
        if not self._samples:
            return ""
        trip, ahead = min(self._samples)
        if abs(ahead) <= max(_TOLERATED_MS, trip / 2):
            ahead = 0.0
        if abs(ahead - self._announced) <= max(_TOLERATED_MS, trip / 2):
            return ""
        self._announced = ahead
        return f"{ahead:.0f}"


class Delivery:
    """The two models of a page. `view` must be in the page. `shown` is called on the session's loop after an acknowledgement."""

    def __init__(self, monotonic_ms: Callable[[], float], now_ms: Callable[[], int], shown: Callable[[], None]) -> None:
        self._monotonic_ms = monotonic_ms
        self._now_ms = now_ms
        self._shown = shown
        self._marks = Acknowledgements()
        self._connections: frozenset[Any] = frozenset()
        self._sent, self._answer = Div(text="0"), Div(text="0")
        self._sent.js_on_change("text", CustomJS(args={"sent": self._sent, "answer": self._answer}, code=_ANSWER))
        self._answer.on_change("text", self._answered)
        self.view = pn.pane.Bokeh(column(self._sent, self._answer), visible=False, css_classes=["cv-delivery"])

    def ready(self, connections: frozenset[Any]) -> bool:
        """Whether a message may be sent: a browser is connected and has acknowledged the last message."""
        if connections != self._connections:
            self._connections = connections
            self._marks.forget()
        return bool(connections) and not self._marks.outstanding

    def mark(self) -> None:
        """Request an acknowledgement of the state message just written."""
        self._sent.text = self._marks.send(self._monotonic_ms(), self._now_ms())

    def _answered(self, _name: str, _before: str, answer: str) -> None:
        if self._marks.receive(answer, self._monotonic_ms()):
            self._shown()
