"""Fixtures of the control service's tests."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import structlog

from cryptoviz.log import configure_logging
from tests.support.control_server import Serving, serving


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    written = io.StringIO()
    configure_logging("INFO", written)
    yield written
    structlog.reset_defaults()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path) as here:
        yield here


@pytest.fixture
def channel(served: Serving) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served.address) as channel:
        yield channel
