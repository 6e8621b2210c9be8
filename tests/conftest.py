"""Fixtures that several suites share, and what runs beside what."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest

from cryptoviz.masking import forget
from tests.pipeline import Demo, running_demo

# How fast an example is says more of the machine than of the code.
hypothesis.settings.register_profile("values", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("values")

_SIDE_BY_SIDE = "PYTEST_XDIST_WORKER" in os.environ


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell starts what it puts into the background with SIGINT ignored; tests of Ctrl-C need it, in this process and in its children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One whole demo for all tests that need the pipeline; it ticks twice a second so that a thousand rows take half a minute."""
    with running_demo(tmp_path_factory.mktemp("demo")) as running:
        yield running


@pytest.fixture(autouse=True)
def no_known_secrets() -> Iterator[None]:
    """A secret that one test sets is no secret in the next."""
    yield
    forget()


@pytest.hookimpl(tryfirst=True)  # before -m chooses by the mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the whole demo come last, together: its ten components would slow down every other test that starts engines.

    Where two processes run tests side by side, those that wait for engines begin, and the unit tests fill what is left at the end.
    """
    for item in items:
        if _uses_demo(item) or item.get_closest_marker("chaos"):
            item.add_marker(pytest.mark.alone)
    items.sort(key=_waits_least if _SIDE_BY_SIDE else _uses_demo)


def _uses_demo(item: pytest.Item) -> bool:
    return "demo" in getattr(item, "fixturenames", ())


def _waits_least(item: pytest.Item) -> bool:
    return item.get_closest_marker("integration") is None and item.get_closest_marker("browser") is None
