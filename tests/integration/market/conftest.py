"""A market on a free port, and a client for it."""

import httpx
import pytest

from market.server import MarketConfig, ReplayMarket
from tests.integration.market.wire import NOON_MS
from tests.support.clock import FakeClock


@pytest.fixture
async def market(tmp_path):
    async with ReplayMarket(MarketConfig(home=tmp_path)) as running:
        yield running


@pytest.fixture
async def client(market):
    async with httpx.AsyncClient(base_url=market.url, timeout=120) as http:
        yield http


@pytest.fixture
def set_clock():
    return FakeClock(NOON_MS)


@pytest.fixture
async def still(tmp_path, set_clock):
    """A client of a market with a fixed clock, changed with `set_clock`."""
    async with ReplayMarket(MarketConfig(home=tmp_path), set_clock) as running, httpx.AsyncClient(base_url=running.url, timeout=120) as http:
        yield http


@pytest.fixture
def ask(client):
    """Sets a fault, which must be accepted."""

    async def fault(kind, provider="coingecko", duration_s=60, **parameters):
        response = await client.post("/_market/faults", json={"provider": provider, "kind": kind, "parameters": parameters, "duration_s": duration_s})
        assert response.status_code == 201, response.text
        return response.json()

    return fault
