"""What a page is to the rest: a place in the frame, a model that writes its parts, and verbs.

To add a page: a module of view models in `views/` (pure), a module here with a subclass of `Page` and its `KIND`, and a line in `registry.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cryptoviz.settings import Settings
from dashboard.page_session import Session
from dashboard.views.link import Link

__all__ = ["Page", "PageKind"]


class Page:
    """Built when a browser first shows it. All methods run on the session's loop and must not block: see `Session.in_background`."""

    def __init__(self, session: Session, link: Link) -> None:
        self.session = session
        self.out = session.out
        self.link = link

    def refresh(self) -> None:
        """Put the parts that show the current state. Called after each change and once a second, while the page is shown."""

    def act(self, verb: str, values: Mapping[str, str]) -> None:
        """An action of the browser: a `data-act` in the page's markup, with its other `data-` attributes and the fields of its form. Untrusted."""

    def forget(self) -> None:
        """The browser has lost what was sent, as after a reload: only of interest to a page that sends changes (`Outbox.put_once`)."""


@dataclass(frozen=True, slots=True)
class PageKind:
    """A page of the registry.

    `name` is the `view` of the address; `title` a key of the texts. `frame` is markup with the places of its parts, `<div data-part="name"></div>`:
    a part whose content is a string is shown there, another needs a renderer in `web/` (`cv.part`). It is given the language.
    """

    name: str
    title: str
    frame: Callable[[str], str]
    build: Callable[[Session, Link], Page] = field(compare=False)
    beside: str = ""
    """A page that is shown together with this one."""
    when: Callable[[Settings], bool] = field(default=lambda _settings: True, compare=False)
    """Whether there is such a page."""
