"""State messages to a page: at most one in flight, and the offset of the browser's clock."""

from __future__ import annotations

import pytest

from dashboard.delivery import Acknowledgements

EPOCH_MS = 1_700_000_000_000
"""Of the server, when its monotonic clock is 0."""


def exchange(marks: Acknowledgements, sent_ms: float, trip_ms: float, ahead_ms: int) -> str:
    """One message and its acknowledgement, by a browser whose clock is `ahead_ms` behind the server's."""
    mark = marks.send(sent_ms, round(sent_ms) + EPOCH_MS)
    browser_ms = round(sent_ms + trip_ms / 2) + EPOCH_MS - ahead_ms
    assert marks.receive(f"{mark.split(' ')[0]} {browser_ms}", sent_ms + trip_ms)
    return mark


def test_one_message_is_under_way_until_it_is_answered() -> None:
    marks = Acknowledgements()
    assert not marks.outstanding
    mark = marks.send(0.0, 1_000)
    assert mark == "1 "
    assert marks.outstanding
    assert marks.receive("1 1000", 5.0)
    assert not marks.outstanding


@pytest.mark.parametrize("answer", ["", "1", "2 1000", "1 x", "1 -5", "x 1000", "1 1e9", "1 " + "9" * 400, "0 1000", " 1000", "1 ١٢"])
def test_what_is_no_answer_to_the_last_message_releases_nothing(answer: str) -> None:
    marks = Acknowledgements()
    marks.send(0.0, 1_000)
    assert not marks.receive(answer, 5.0)
    assert marks.outstanding


def test_another_connection_starts_again() -> None:
    marks = Acknowledgements()
    marks.send(0.0, 1_000)
    marks.forget()
    assert not marks.outstanding
    assert not marks.receive("1 1000", 5.0)


def test_clocks_that_agree_are_left_alone() -> None:
    marks = Acknowledgements()
    assert [exchange(marks, i * 1000.0, 10.0, 40) for i in range(3)] == ["1 ", "2 ", "3 "]


def test_a_browsers_clock_that_is_off_is_corrected_once() -> None:
    # The browser is one hour behind: the server is ahead by 3 600 000 ms, sent with the message after the first acknowledgement.
    marks = Acknowledgements()
    assert [exchange(marks, i * 1000.0, 10.0, 3_600_000) for i in range(3)] == ["1 ", "2 3600000", "3 "]


def test_a_page_that_slept_moves_no_clock() -> None:
    # An acknowledgement after a minute's sleep is inaccurate: earlier quick acknowledgements are used.
    marks = Acknowledgements()
    exchange(marks, 0.0, 10.0, 0)
    mark = marks.send(1_000.0, EPOCH_MS + 1_000)
    marks.receive(f"{mark.split(' ')[0]} {EPOCH_MS + 61_000}", 61_000.0)
    assert exchange(marks, 62_000.0, 10.0, 0) == "3 "
