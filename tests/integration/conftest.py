"""Fixtures of the tests with a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.publishing import kafka_transport
from cryptoviz.kafka import transactions
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
def topics(base: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """As `base`, with topics of the test's own.

    For producers without a publisher, which would begin again: a busy machine may take longer for a start or a transaction than a component waits.
    """
    monkeypatch.setattr(transactions, "CONNECT_TIMEOUT_S", 60.0)
    monkeypatch.setattr(kafka_transport, "TAIL_TIMEOUT_S", 60.0)
    made = settings_for(base, tmp_path, {})
    return made.model_copy(update={"kafka": made.kafka.model_copy(update={"transaction_timeout_ms": 600_000})})
