"""What a page shows, by part, and which of it the browser does not have yet. Pure: no Panel, no clock.

A page writes the newest content of its parts at each pull; only parts that changed are sent. Nothing queues: a part written ten times while the
browser lags is sent once. Notices are sent each, and only the newest few are kept.
"""

from __future__ import annotations

from collections import deque
from typing import Any

__all__ = ["Content", "Outbox"]

Content = Any
"""What JSON can say: markup as a string for a place in the page, or values for a renderer in `web/`."""

_NOTICES = 20


class Outbox:
    """The parts of one page."""

    def __init__(self) -> None:
        self._sent: dict[str, Content] = {}
        self._waiting: dict[str, Content] = {}
        self._once: dict[str, Content] = {}
        self._notices: deque[Content] = deque(maxlen=_NOTICES)

    def put(self, part: str, content: Content) -> None:
        """The newest content of a part; sent if it differs from what was sent last."""
        if part in self._sent and self._sent[part] == content:
            self._waiting.pop(part, None)
        else:
            self._waiting[part] = content

    def put_once(self, part: str, content: Content) -> None:
        """Content that is sent as it is, and not kept: a change to what the browser has."""
        self._once[part] = content

    def notice(self, notice: Content) -> None:
        """Something that happened, such as the answer to a click."""
        self._notices.append(notice)

    def take(self) -> tuple[dict[str, Content], list[Content]]:
        """Parts to be sent, and notices; both count as sent."""
        self._sent.update(self._waiting)
        parts = self._waiting | self._once
        self._waiting, self._once = {}, {}
        notices = list(self._notices)
        self._notices.clear()
        return parts, notices

    def forget(self) -> None:
        """The browser has nothing, as after a reload: everything put from now on is sent."""
        self._sent.clear()
        self._waiting.clear()
        self._once.clear()
