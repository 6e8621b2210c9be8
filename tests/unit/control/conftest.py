"""Fixtures of the control service's tests."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import structlog

from cryptoviz.log import configure_logging


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    written = io.StringIO()
    configure_logging("INFO", written)
    yield written
    structlog.reset_defaults()
