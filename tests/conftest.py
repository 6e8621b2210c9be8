"""Fixtures that several suites share, and what runs beside what."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.pipeline import Demo, running_demo

_SIDE_BY_SIDE = "PYTEST_XDIST_WORKER" in os.environ


class _DemoHolder:
    """Starts the demo for the first test that asks and ends it after the last, though other tests follow."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._stack = ExitStack()
        self._demo: Demo | None = None

    def get(self) -> Demo:
        if self._demo is None:
            self._demo = self._stack.enter_context(running_demo(self._factory.mktemp("demo")))
        return self._demo

    def end(self) -> None:
        self._demo = None
        self._stack.close()


@pytest.fixture(scope="session")
def demo_holder(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[_DemoHolder]:
    """Of this process."""
    holder = _DemoHolder(tmp_path_factory)
    pytestconfig.stash[_HOLDER] = holder
    yield holder
    holder.end()


@pytest.fixture
def demo(demo_holder: _DemoHolder) -> Demo:
    """One whole demo for all tests that need the pipeline; it ticks twice a second so that a thousand rows take half a minute."""
    return demo_holder.get()


_HOLDER = pytest.StashKey[_DemoHolder]()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """The demo's ten components would slow down whatever comes after its tests."""
    if _uses_demo(item) and not (nextitem is not None and _uses_demo(nextitem)) and _HOLDER in item.config.stash:
        item.config.stash[_HOLDER].end()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process: the quickest first, the demo's tests last and together. Several: a file is never split and the demo's tests stay together; those
    that wait longest begin, and the unit tests fill what is left at the end.
    """
    items.sort(key=_turn)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    """What one process runs in one go: whatever shares engines."""
    if _uses_demo(item):
        return "demo"
    return "browser" if item.get_closest_marker("browser") else item.nodeid.partition("::")[0]


def _turn(item: pytest.Item) -> int:
    if not _SIDE_BY_SIDE:
        return int(_uses_demo(item))
    kinds: tuple[Callable[[pytest.Item], bool], ...] = (
        _uses_demo,
        lambda item: item.get_closest_marker("chaos") is not None,
        lambda item: item.get_closest_marker("integration") is not None or item.get_closest_marker("browser") is not None,
    )
    return next((turn for turn, applies in enumerate(kinds) if applies(item)), len(kinds))


def _uses_demo(item: pytest.Item) -> bool:
    return "demo" in getattr(item, "fixturenames", ())
