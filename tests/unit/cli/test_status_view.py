"""The status table in a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from cryptoviz.cli.status_view import age, pipeline_view
from cryptoviz.components import ComponentKind, ComponentState, ComponentStatus, DesiredState, Trigger
from cryptoviz.rpc.pipeline_status import PipelineStatus


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (172_799, "48 h"), (172_800, "2 d")]
)
def test_age_uses_the_unit_that_people_would(seconds: float, text: str) -> None:
    assert age(seconds) == text


def rendered(*components: ComponentStatus, replayed: bool = False) -> str:
    console = Console(file=io.StringIO(), width=160)
    status = PipelineStatus(ComponentState.DEGRADED, "lake is DEGRADED", components, replayed)
    console.print(pipeline_view(status, [("Dashboard", "http://127.0.0.1:5006")], now_s=1000.0))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def component(**changes: object) -> ComponentStatus:
    fields: dict[str, Any] = {
        "name": "lake",
        "kind": ComponentKind.LAKE,
        "desired": DesiredState.RUNNING,
        "state": ComponentState.RUNNING,
        "trigger": Trigger.STARTED,
        "message": "",
        "since_ms": 940_000,
        "restarts": 0,
        "metrics": {"rows_total": 12_345.0, "something_else": 1.0},
        "depends_on": ("kafka",),
    }
    return ComponentStatus(**(fields | changes))


def test_running_component_shows_its_numbers_and_for_how_long() -> None:
    text = rendered(component())
    row = next(line for line in text.splitlines() if line.lstrip().startswith("lake"))
    assert "60 s" in row
    assert "rows 12,345" in row
    assert "something" not in row


def test_a_number_below_one_is_not_shown_as_0() -> None:
    text = rendered(component(metrics={"latency_ms": 0.25, "requests_total": 0.0}))
    assert "latency ms 0.25" in text
    assert "requests 0" in text


def test_component_in_trouble_shows_why_instead() -> None:
    text = rendered(component(state=ComponentState.DEGRADED, message="no batch for 40 s"))
    row = next(line for line in text.splitlines() if line.lstrip().startswith("lake"))
    assert "no batch for 40 s" in row
    assert "12,345" not in row


def test_markup_in_a_message_is_text() -> None:
    assert "[bold]x[/bold]" in rendered(component(state=ComponentState.FAILED, message="[bold]x[/bold]"))


def test_replayed_prices_are_marked() -> None:
    assert "REPLAYED DATA" in rendered(component(), replayed=True)
    assert "REPLAYED DATA" not in rendered(component())


def test_nodes_are_shown_if_there_are_several() -> None:
    alone = rendered(component(nodes=("127.0.0.1", "127.0.0.1")))
    assert "node" not in alone
    assert "127.0.0.1 " not in alone
    text = rendered(component(nodes=("192.0.2.1", "192.0.2.2", "192.0.2.2")), component(name="collector"))
    rows = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "192.0.2.1, 192.0.2.2 " in rows["lake"]
    assert "192.0.2." not in rows["collector"]
