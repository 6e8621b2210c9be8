"""The page's message without a price."""

from __future__ import annotations

from cryptoviz.client import PipelineStatus
from cryptoviz.components import ComponentState
from dashboard.views.placeholders import waiting_markup
from tests.unit.dashboard.records import a_component


def test_it_says_what_status_says_and_what_to_do() -> None:
    scraper = a_component(name="scraper/coingecko", state=ComponentState.STARTING, message="no good poll yet: name resolution failed for api.example")
    pipeline = PipelineStatus(ComponentState.STARTING, "scraper/coingecko is STARTING", (a_component(), scraper))
    shown = waiting_markup(pipeline, None)
    expected = ["Waiting for the first prices", pipeline.reason, "scraper/coingecko STARTING", scraper.message]
    for words in (*expected, "cryptoviz providers", "cryptoviz doctor"):
        assert words in shown
    assert "lake RUNNING" not in shown


def test_a_pipeline_that_runs_needs_no_advice() -> None:
    shown = waiting_markup(PipelineStatus(ComponentState.RUNNING, "all components run", (a_component(),)), None)
    assert "all components run" in shown
    assert "doctor" not in shown


def test_a_stopped_pipeline_and_a_silent_control_service_are_named() -> None:
    assert "cryptoviz start" in waiting_markup(PipelineStatus(ComponentState.STOPPED, "no component is enabled", ()), None)
    assert "connection refused" in waiting_markup(None, "connection refused")
