"""Fixtures that several suites share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pipeline import Demo, running_demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One whole demo for all tests that need the pipeline; it ticks twice a second so that a thousand rows take half a minute."""
    with running_demo(tmp_path_factory.mktemp("demo")) as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the whole demo come last, together: its ten components would slow down every other test that starts engines."""
    items.sort(key=lambda item: "demo" in getattr(item, "fixturenames", ()))
