"""Rows of the pipeline table, and the confirmation of each action."""

from __future__ import annotations

import pytest

from cryptoviz.client import PipelineStatus
from cryptoviz.components import ComponentState, DesiredState, Trigger
from dashboard.views.header import banner_markup, header_markup, state_class, total
from dashboard.views.pipeline_rows import FIELDS, Verb, allowed, component_row, format_metric, pipeline_summary, question
from tests.unit.dashboard.records import NOW_MS, TICK_MS, a_component, a_record


def test_a_row_has_every_field() -> None:
    row = component_row(a_component(metrics={"lag_records": 3.0}))
    assert set(row) == {"component", *FIELDS}
    assert f'data-tick="{NOW_MS - 60_000}"' in row["since"]
    assert "needs kafka, object-<wbr>store" in row["name"]


@pytest.mark.parametrize(
    ("desired", "state", "can"),
    [
        (DesiredState.RUNNING, ComponentState.RUNNING, {Verb.STOP, Verb.RESTART}),
        (DesiredState.RUNNING, ComponentState.BACKOFF, {Verb.STOP, Verb.RESTART}),
        (DesiredState.RUNNING, ComponentState.FAILED, {Verb.START, Verb.STOP, Verb.RESTART}),
        (DesiredState.STOPPED, ComponentState.STOPPED, {Verb.START}),
        (DesiredState.STOPPED, ComponentState.STOPPING, {Verb.START}),
    ],
)
def test_only_verbs_that_change_something_are_enabled(desired: DesiredState, state: ComponentState, can: set[Verb]) -> None:
    component = a_component(desired=desired, state=state)
    assert {verb for verb in Verb if allowed(component, verb)} == can
    row = component_row(component)
    assert {verb for verb in Verb if "disabled" not in row[verb]} == can


def test_problems_are_shown_without_a_message_column() -> None:
    row = component_row(a_component(state=ComponentState.BACKOFF, trigger=Trigger.DIED, message="exit code 137", restarts=2))
    assert "exit code 137" in row["name"]
    assert "exit code 137" in row["message"]
    assert "died" in row["message"]
    assert "exit code 137" not in component_row(a_component(message="exit code 137"))["name"]


def test_a_node_is_named_once() -> None:
    assert "on a, b<" in component_row(a_component(nodes=("a", "a", "b")))["name"]


def test_dead_letters_show_as_one_number_with_the_reasons_behind_it() -> None:
    counts = {"dead_letters_total": 1204.0, "dead_letters_not_json_total": 1200.0, "dead_letters_tombstone_total": 4.0}
    shown = component_row(a_component(metrics={"rows_total": 5.0, **counts, "files_total": 2.0}))["metrics"]
    assert 'title="not_json 1,200, tombstone 4. `cryptoviz dead-letters` shows them."' in shown
    assert "dead letters <b>1,204</b>" in shown
    assert "not json" not in shown
    assert "files <b>2</b>" in shown
    assert "title" not in component_row(a_component(metrics={"dead_letters_total": 0.0}))["metrics"]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("last_poll_age_s", 1.234, ("last poll age", "1.23 s")),
        ("bytes_before_total", 22_692_493.0, ("bytes before", "21.6 MiB")),
        ("batch_ms", 281.0, ("batch", "281 ms")),
        ("input_rate_per_s", 8.5, ("input rate", "8.50/s")),
        ("rows_total", 303_450.0, ("rows", "303,450")),
        ("lag_records", 17.0, ("lag", "17")),
        ("heap_bytes", 1536.0 * 1024, ("heap", "1.5 MiB")),
        ("rss_mb", 176.3, ("rss", "176.3 MiB")),  # of 2**20 bytes, as all metrics of that name
        ("free_pct", 12.345, ("free", "12.35%")),
        ("executors", 1.0, ("executors", "1")),
        ("data_age_s@BTCUSDT", 0.2, ("data age BTCUSDT", "0.20 s")),
        ("lag_ms@ETH/USD", 3.0, ("lag ETH/USD", "3 ms")),
        ("odd", float("nan"), ("odd", "—")),
    ],
)
def test_metrics_read_with_their_units(name: str, value: float, shown: tuple[str, str]) -> None:
    assert format_metric(name, value) == shown


def test_metrics_that_have_no_room_are_counted_and_listed() -> None:
    shown = component_row(a_component(metrics={f"m{i}_total": float(i) for i in range(11)}))["metrics"]
    assert "m7 <b>7</b>" in shown
    assert 'title="m8 8, m9 9, m10 10"' in shown
    assert "+3 more" in shown
    assert "more" not in component_row(a_component(metrics={f"m{i}_total": float(i) for i in range(8)}))["metrics"]


def test_stopping_the_dashboard_says_what_that_means() -> None:
    assert "This page is served by it" in question(Verb.STOP, "dashboard")
    assert "wait until it runs again" in question(Verb.STOP, "kafka")


def test_each_state_has_its_class() -> None:
    assert {state_class(state) for state in ComponentState} == {"cv-chip-good", "cv-chip-busy", "cv-chip-warn", "cv-chip-bad", "cv-chip-off"}


def test_the_summary_counts_what_runs() -> None:
    pipeline = PipelineStatus(ComponentState.DEGRADED, "lake is DEGRADED", (a_component(), a_component(name="kafka", state=ComponentState.DEGRADED)))
    line = pipeline_summary(pipeline)
    assert "1 of 2 running" in line
    assert "lake is DEGRADED" in line


def test_the_header_adds_up_and_marks_replayed_data() -> None:
    coins = [a_record(), a_record(asset_id="x", market_cap=None, volume_24h=1e9), a_record(asset_id="y", quote_currency="USDT", market_cap=9e12)]
    shown = header_markup(total(coins), None, None, True, TICK_MS)
    assert "$1.00T" in shown
    assert "$31.00B" in shown
    assert "REPLAYED DATA" in shown
    assert f'data-tick="{NOW_MS - 1_000}"' in shown
    plain = header_markup(total([]), None, None, False, TICK_MS)
    assert "REPLAYED DATA" not in plain
    assert "data-tick" not in plain


def test_the_banner_is_there_only_while_something_is_lost() -> None:
    assert banner_markup(None, None) == ""
    assert "cv-feed-lost" in banner_markup("Kafka: no", None)
    assert "cv-control-lost" in banner_markup(None, "gone")
