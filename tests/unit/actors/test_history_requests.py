"""Requests of a backfill: an id is a single path component or query value, whatever characters it contains."""

from __future__ import annotations

import httpx
import pytest

from actors.fetching.http import full_address
from cryptoviz.providers.history import Step, Window
from cryptoviz.providers.registry import BUILT_IN_SPECS

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
