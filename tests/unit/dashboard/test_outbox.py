"""The parts of a page: only what changed is sent, once, however often it was written."""

from __future__ import annotations

from dashboard.outbox import Outbox


def test_only_the_newest_content_that_differs_is_sent() -> None:
    out = Outbox()
    out.put("a", "1")
    out.put("b", [1])
    out.put("a", "2")
    assert out.take() == ({"a": "2", "b": [1]}, [])
    out.put("a", "2")
    out.put("b", [1, 2])
    assert out.take() == ({"b": [1, 2]}, [])
    out.put("a", "3")
    out.put("a", "2")
    assert out.take() == ({}, []), "back at what the browser has"


def test_a_change_is_sent_each_time() -> None:
    out = Outbox()
    out.put_once("rows", {"tail": 1})
    assert out.take()[0] == {"rows": {"tail": 1}}
    out.put_once("rows", {"tail": 1})
    assert out.take()[0] == {"rows": {"tail": 1}}


def test_a_browser_that_begins_again_gets_everything() -> None:
    out = Outbox()
    out.put("a", "1")
    out.take()
    out.forget()
    out.put("a", "1")
    assert out.take() == ({"a": "1"}, [])


def test_notices_are_sent_once_and_bounded() -> None:
    out = Outbox()
    for number in range(30):
        out.notice(number)
    assert out.take() == ({}, list(range(10, 30)))
    assert out.take() == ({}, [])
