"""Sessions end without leaks: no part of a page remains after its browser has left."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboard.app_context import AppContext
from dashboard.page_session import Session
from tests.browser.conftest import Opener
from tests.support.dashboard_server import new_app_context, serving
from tests.support.waiting import eventually

pytestmark = pytest.mark.browser

PAGES = 6


@pytest.fixture
def app_context(tmp_path: Path) -> Iterator[AppContext]:
    """An AppContext whose feeds are not started; the test acts as the feed."""
    with new_app_context(tmp_path) as made:
        yield made


@pytest.fixture
def served(app_context: AppContext) -> Iterator[str]:
    """The application in this process, with sessions that expire within seconds."""
    with serving(app_context, unused_session_ms=2500) as url:
        yield url


def test_pages_that_were_closed_leave_nothing_behind(
    app_context: AppContext, served: str, open_page: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[weakref.ref[Session]] = []
    first = Session.__init__

    def noted(self: Session, *arguments: Any) -> None:
        sessions.append(weakref.ref(self))
        first(self, *arguments)

    monkeypatch.setattr(Session, "__init__", noted)
    without_pages = len(app_context.wakeups)
    for _ in range(PAGES):
        page = open_page(served).page
        eventually(lambda: len(app_context.wakeups) > without_pages, timeout_s=60)
        page.close()
        eventually(lambda: len(app_context.wakeups) == without_pages, timeout_s=60)
    assert len(sessions) >= PAGES

    def gone() -> bool:
        gc.collect()
        return all(one() is None for one in sessions)

    eventually(gone, timeout_s=60)
