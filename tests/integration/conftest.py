"""Fixtures of the tests with a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptoviz.settings import Settings
from tests.support.collection import settings_for
from tests.support.engines import Engines
from tests.support.transports import ready_kafka


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """Kafka, which accepts transactions, and Redis of this module."""
    with ready_kafka(tmp_path_factory.mktemp("engines")) as found:
        yield found


@pytest.fixture(scope="module")
def base(engines: Engines) -> Settings:
    return engines.settings


@pytest.fixture
def topics(base: Settings, tmp_path: Path) -> Settings:
    """As `base`, with topics of the test's own."""
    return settings_for(base, tmp_path, {})
