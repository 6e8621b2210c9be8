"""Requests of a backfill: an id is a single path component or query value, whatever characters it contains."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from actors.backfill.history_client import HistoryClient
from actors.fetching.hold_off import HoldOff
from actors.fetching.http import full_address
from actors.kept_state import SharedStates
from actors.protection.breaker import Breaker
from cryptoviz.clock import steady_ms
from cryptoviz.errors import ProviderUnavailable
from cryptoviz.providers.history import Step, Window
from cryptoviz.providers.registry import BUILT_IN_SPECS
from cryptoviz.records import FallbackReason
from cryptoviz.settings import BreakerSettings, claim_home, load_settings
from tests.support.clock import FakeClock

MINUTE = 60_000

SOURCES = {spec.name: spec.history for spec in BUILT_IN_SPECS if spec.history is not None}


@pytest.mark.parametrize("provider_id", ["bitcoin", "../ping", "a/b?x=1#y", "ä b", "%2e%2e"])
@pytest.mark.parametrize("name", SOURCES)
def test_an_id_is_escaped_to_a_single_url_component(name: str, provider_id: str) -> None:
    step = Step((10 * MINUTE,), MINUTE, 1000 * MINUTE, MINUTE)
    path, query = SOURCES[name].request(provider_id, Window((10 * MINUTE,), 9 * MINUTE, 10 * MINUTE), step)
    address = full_address(name, f"http://h{path}", query)
    plain, usual = SOURCES[name].request("X", Window((10 * MINUTE,), 9 * MINUTE, 10 * MINUTE), step)
    expected = full_address(name, f"http://h{plain}", usual)
    parts, usual_parts = address.raw_path.split(b"?")[0].split(b"/"), expected.raw_path.split(b"?")[0].split(b"/")
    assert len(parts) == len(usual_parts)
    differing = [httpx.URL(f"http://h/?x={part.decode()}").params["x"] for part, other in zip(parts, usual_parts, strict=True) if part != other]
    differing += [value for key, value in address.params.items() if value != expected.params[key]]
    assert differing == [provider_id]
    assert address.params.keys() == expected.params.keys()


@pytest.mark.parametrize("kind", ["breaker", "hold"])
async def test_a_backfill_heeds_what_befell_the_scraper_on_another_node(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, elsewhere = FakeClock(), dict[str, dict[str, Any]]()

    async def load(self: SharedStates, kind: str) -> dict[str, Any] | None:
        return elsewhere.get(kind)

    monkeypatch.setattr(SharedStates, "load", load)
    own = {"kraken": {"base_url": "http://127.0.0.1:1"}}
    settings = claim_home(load_settings(home=tmp_path, redis={"url": "redis://127.0.0.1:1"}, providers=own))
    client = HistoryClient("kraken", settings, clock)
    window, step = Window((10 * MINUTE,), 9 * MINUTE, 10 * MINUTE), Step((10 * MINUTE,), MINUTE, 1000 * MINUTE, MINUTE)
    if kind == "breaker":
        Breaker(BreakerSettings(), clock=clock, share=partial(elsewhere.__setitem__, kind)).trip("by hand", steady_ms(clock))
    else:
        hold = HoldOff(clock=clock, share=partial(elsewhere.__setitem__, kind))
        hold.impose(FallbackReason.RATE_LIMITED, 3600.0, steady_ms(clock))
    with pytest.raises(ProviderUnavailable, match={"breaker": "its breaker is open", "hold": "asked to wait"}[kind]):
        await client.fetch("XBTUSD", window, step, lambda _: None)
    await client.aclose()
