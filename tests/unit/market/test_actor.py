"""The market's component actor."""

import socket
import time

import httpx
import pytest

from cryptoviz.errors import PreflightError
from cryptoviz.settings import MarketSettings, Settings
from market.actor import MarketActor
from tests.support.ports import free_port


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path, market=MarketSettings(port=free_port()))


async def test_start_probe_stop(settings):
    actor = MarketActor(settings)
    assert not (await actor.probe()).running
    await actor.start()
    await actor.start()
    before = await actor.probe()
    assert before.running
    assert before.healthy
    assert before.url is not None
    assert before.metrics == {"requests_total": 0.0, "faults_active": 0.0}
    base = f"http://127.0.0.1:{settings.market.port}"
    begun = time.monotonic()
    async with httpx.AsyncClient(base_url=base, timeout=60) as client:
        assert (await client.get("/coingecko/ping")).status_code == 200
        await client.post("/_market/faults", json={"provider": "coingecko", "kind": "latency"})
        assert (await client.get(before.url)).status_code == 200
    after = await actor.probe()
    assert after.metrics["requests_total"] == 1
    assert after.metrics["faults_active"] == 1
    assert 0 <= after.metrics["last_request_age_s"] <= time.monotonic() - begun
    assert "latency on coingecko" in after.message
    await actor.stop()
    await actor.stop()
    assert not (await actor.probe()).running
    assert (settings.home / "market" / "ledger.jsonl").read_bytes().count(b"\n") == 1


async def test_a_taken_port_names_the_setting(settings):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", settings.market.port))
        holder.listen()
        with pytest.raises(PreflightError, match="CRYPTOVIZ_MARKET__PORT"):
            await MarketActor(settings).start()


async def test_limits_of_an_unknown_provider_name_the_setting(tmp_path):
    settings = Settings(home=tmp_path, market=MarketSettings(port=free_port(), limits={"nasdaq": {}}))
    with pytest.raises(PreflightError, match=r"market\.limits names unknown providers nasdaq; valid: coingecko"):
        await MarketActor(settings).start()


async def test_limits_of_the_settings_hold(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYPTOVIZ_MARKET__LIMITS", '{"coinpaprika": {"per_month": 1}}')
    monkeypatch.setenv("CRYPTOVIZ_MARKET__PORT", str(free_port()))
    settings = Settings(home=tmp_path)
    actor = MarketActor(settings)
    await actor.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.market.port}", timeout=60) as client:
        assert [(await client.get("/coinpaprika/v1/tickers")).status_code for _ in range(2)] == [200, 402]
    await actor.stop()
