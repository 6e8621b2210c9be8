"""A network of hosts for the tests of a module, with a launcher."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.hosts import HostNetwork


@pytest.fixture(scope="module")
def network() -> Iterator[HostNetwork]:
    """Ends all of its hosts."""
    with HostNetwork() as made:
        yield made
