"""`/metrics` over HTTP: values, and nothing without a token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from control.metrics.exposition import registry_of
from control.metrics.server import MetricsServer
from control.rpc.call_metrics import CallMetrics
from control.rpc.callers import Callers
from control.rpc.methods import ROLES
from cryptoviz.components import ComponentKind, ComponentState, ComponentStatus, DesiredState, Trigger
from cryptoviz.errors import PreflightError
from cryptoviz.local.private import ensure_token
from cryptoviz.rpc.pipeline_status import PipelineStatus
from cryptoviz.security.tokens import Role, TokenFile
from cryptoviz.settings import Settings, load_settings
from tests.support.clock import T0, FakeClock
from tests.support.ports import free_port

METHOD = next(method for method in sorted(ROLES) if method.endswith("/ListComponents"))


def component(name: str, kind: ComponentKind, state: ComponentState, metrics: dict[str, float], restarts: int = 0) -> ComponentStatus:
    return ComponentStatus(name, kind, DesiredState.RUNNING, state, Trigger.NONE, "", T0 - 90_000, restarts, metrics, ())


PIPELINE = PipelineStatus(
    ComponentState.DEGRADED, "",
    (
        component("scraper/kraken", ComponentKind.SCRAPER, ComponentState.RUNNING, {"polls_total": 7.0, "latency_ms": 250.0}, restarts=3),
        component("scraper/binance", ComponentKind.SCRAPER, ComponentState.DEGRADED, {"polls_total": 9.0}),
        component("lake", ComponentKind.LAKE, ComponentState.RUNNING, {"lag_records": 5.0, "dead_letters_not_json_total": 2.0}),
        component("kafka", ComponentKind.EXTERNAL, ComponentState.RUNNING, {"answer_ms": 2.0}),
    ),
)  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = load_settings(home=tmp_path / "home", control={"metrics_port": free_port()})
    ensure_token(found.token_file, "CRYPTOVIZ_HOME")
    return found


@asynccontextmanager
async def serving(settings: Settings, calls: CallMetrics | None = None) -> AsyncIterator[str]:
    server = MetricsServer(registry_of(lambda: PIPELINE, calls or CallMetrics(), FakeClock()), Callers(settings), settings.control)
    await server.start()
    try:
        yield f"http://127.0.0.1:{settings.control.metrics_port}/metrics"
    finally:
        await server.stop()


async def values(url: str, token: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """By name and labels."""
    async with httpx.AsyncClient(timeout=60) as client:
        response = await client.get(url, headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 200
    families = text_string_to_metric_families(response.text)
    return {(sample.name, frozenset(sample.labels.items())): sample.value for family in families for sample in family.samples}


def labels(**given: str) -> frozenset[tuple[str, str]]:
    return frozenset(given.items())


async def test_values_of_all_components_are_in_base_units(settings: Settings) -> None:
    token = settings.token_file.read_text().strip()
    async with serving(settings) as url:
        found = await values(url, token)
    expected = {
        ("cryptoviz_pipeline_running", labels()): 0.0,
        ("cryptoviz_component_state", labels(component="scraper/binance", state="DEGRADED")): 1.0,
        ("cryptoviz_component_state", labels(component="scraper/binance", state="RUNNING")): 0.0,
        ("cryptoviz_component_state_age_seconds", labels(component="lake")): 90.0,
        ("cryptoviz_component_restarts_total", labels(component="scraper/kraken")): 3.0,
        ("cryptoviz_scraper_polls_total", labels(component="scraper/kraken")): 7.0,
        ("cryptoviz_scraper_polls_total", labels(component="scraper/binance")): 9.0,
        ("cryptoviz_scraper_latency_seconds", labels(component="scraper/kraken")): 0.25,
        ("cryptoviz_lake_lag_records", labels(component="lake")): 5.0,
        ("cryptoviz_lake_dead_letters_by_reason_total", labels(component="lake", reason="not_json")): 2.0,
        ("cryptoviz_engine_answer_seconds", labels(component="kafka")): 0.002,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert found["process_resident_memory_bytes", labels()] > 1_000_000


async def test_calls_are_counted_by_code_and_the_buckets_of_their_time_are_cumulative(settings: Settings) -> None:
    calls = CallMetrics()
    for took_s in (0.0005, 0.02, 0.02, 99.0):
        calls.add(METHOD, "OK", took_s)
    calls.add(METHOD, "UNAUTHENTICATED")
    token = settings.token_file.read_text().strip()
    async with serving(settings, calls) as url:
        found = await values(url, token)
    assert found["cryptoviz_rpc_calls_total", labels(method=METHOD, code="OK")] == 4
    assert found["cryptoviz_rpc_calls_total", labels(method=METHOD, code="UNAUTHENTICATED")] == 1
    buckets = {bound: found["cryptoviz_rpc_seconds_bucket", labels(method=METHOD, le=bound)] for bound in ("0.001", "0.01", "0.025", "10.0", "+Inf")}
    assert buckets == {"0.001": 1, "0.01": 1, "0.025": 3, "10.0": 3, "+Inf": 4}
    assert found["cryptoviz_rpc_seconds_count", labels(method=METHOD)] == 4


async def test_a_token_to_read_is_sufficient_until_it_is_revoked(settings: Settings) -> None:
    tokens = TokenFile(settings.home)
    token = tokens.add("prometheus", Role.READ, 0)
    async with serving(settings) as url, httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        assert (await client.get(url)).status_code == 200
        tokens.revoke("prometheus")
        assert (await client.get(url)).status_code == 401


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer wrong", "Basic dXNlcjpwYXNz"])
async def test_nothing_is_served_without_a_token(settings: Settings, value: str | None) -> None:
    async with serving(settings) as url, httpx.AsyncClient(timeout=60) as client:
        refused = await client.get(url, headers={} if value is None else {"Authorization": value})
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert "cryptoviz_" not in refused.text
        assert (await client.get(url.replace("/metrics", "/"))).status_code == 404


async def test_a_port_in_use_is_reported_with_its_setting(settings: Settings) -> None:
    async with serving(settings):
        with pytest.raises(PreflightError, match="CRYPTOVIZ_CONTROL__METRICS_PORT"):
            async with serving(settings):
                pass
