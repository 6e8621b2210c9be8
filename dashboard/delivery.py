"""The channel to a browser, with flow control: at most one state message is in flight per page, so that a slow page has no backlog.

Each state message has a number. The browser, which applies messages in order, acknowledges with that number and its clock. The acknowledgements also
give the offset between the clocks of server and browser.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson
from panel.custom import JSComponent
from panel.models.esm import ESMEvent

__all__ = ["LONGEST_TEXT", "Acknowledgements", "Channel", "Delivery"]

LONGEST_TEXT = 40_000
"""Characters of all values of an action. More than any page takes, so that the page can say what it refuses; a message of it fits into the largest
that the server accepts, however its characters are written. The browser refuses more, and says so."""

_SAMPLES = 8
_TOLERATED_MS = 300  # a smaller clock offset does not visibly change an age
_MOST_VALUES = 64


class Channel(JSComponent):
    """Panel's component for messages in both directions. It shows nothing: `web/core.js` draws the page."""

    _esm = "export function render({model}) { window.cv.attach(model) }"

    def __init__(self, received: Callable[[Any], None]) -> None:
        super().__init__(visible=False)  # type: ignore[no-untyped-call]
        self._received: Callable[[Any], None] = received

    def _handle_msg(self, data: Any) -> None:
        self._received(data)

    def send(self, text: str) -> None:
        """Send to the browser. On the loop of the page, which holds the document."""
        for model, _ in self._models.values():
            document = model.document
            if document is not None:
                document.callbacks.send_event(ESMEvent(model=model, data=text))

    def close(self) -> None:
        """Release the receiver."""
        self._received = lambda _data: None


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
    """Messages of one page. `view` must be in the page. `shown` is called after an acknowledgement, `acted` with each action of the browser.

    Both by `on_loop`, which runs a call with the document's lock: Panel handles an event outside of it if the page was not marked as loaded yet, as
    when the browser says hello right after it is ready. Nothing can be sent there, and a page whose first message fails would wait forever.
    """

    def __init__(
        self,
        monotonic_ms: Callable[[], float],
        now_ms: Callable[[], int],
        shown: Callable[[], None],
        acted: Callable[[str, str, Mapping[str, str]], None],
        on_loop: Callable[[Callable[[], None]], None],
    ) -> None:
        self._monotonic_ms = monotonic_ms
        self._now_ms = now_ms
        self._shown = shown
        self._acted = acted
        self._marks = Acknowledgements()
        self.view = Channel(lambda data: on_loop(partial(self._received, data)))

    @property
    def ready(self) -> bool:
        """Whether the browser has acknowledged the last message."""
        return not self._marks.outstanding

    def restart(self) -> None:
        """The browser has begun again: what was in flight is lost."""
        self._marks.forget()

    def mark(self) -> str:
        """The mark of a state message, which asks for an acknowledgement."""
        return self._marks.send(self._monotonic_ms(), self._now_ms())

    def send(self, parts: Mapping[str, Any], notices: list[Any]) -> None:
        """Send a state message."""
        message = {"mark": self.mark(), "parts": parts, "notices": notices}
        self.view.send(orjson.dumps(message, option=orjson.OPT_NON_STR_KEYS).decode())

    def _received(self, data: Any) -> None:
        """A message of the browser: untrusted."""
        if not isinstance(data, dict):
            return
        answer = data.get("ack")
        if isinstance(answer, str):
            if self._marks.receive(answer, self._monotonic_ms()):
                self._shown()
            return
        page, verb, values = data.get("page"), data.get("act"), data.get("values")
        if not (isinstance(page, str) and isinstance(verb, str) and isinstance(values, dict)) or len(values) > _MOST_VALUES:
            return
        if all(isinstance(name, str) and isinstance(value, str) and len(value) <= LONGEST_TEXT for name, value in values.items()):
            self._acted(page, verb, values)
