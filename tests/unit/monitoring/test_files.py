"""The Grafana dashboard and the alerting rules: valid PromQL that names only metrics and labels that exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import promql_parser as promql
import pytest
import yaml

from control.metrics.exposition import registry_of
from control.metrics.names import HELP, exported
from control.rpc.call_metrics import CallMetrics
from cryptoviz.components import ComponentKind, ComponentState, ComponentStatus, DesiredState, Trigger
from cryptoviz.rpc.pipeline_status import PipelineStatus
from cryptoviz.security.tokens import Role
from tests.support.clock import FakeClock
from tests.support.documents import ROOT

FOLDER = ROOT / "monitoring"
PAGE = ROOT / "docs" / "metrics.md"


def served() -> dict[str, set[str]]:
    """Labels of every sample that a pipeline with all metrics serves, by name."""
    components = [
        ComponentStatus(str(kind), kind, DesiredState.RUNNING, ComponentState.RUNNING, Trigger.NONE, "", 0, 0, dict.fromkeys(metrics, 1.0), ())
        for kind, metrics in HELP.items()
    ]
    lake = next(one for one in components if one.kind is ComponentKind.LAKE)
    lake.metrics.update({"dead_letters_total": 1.0, "dead_letters_not_json_total": 1.0})
    calls = CallMetrics()
    calls.add("/cryptoviz.control.v1.ControlService/ListComponents", "OK", 0.1)
    registry = registry_of(lambda: PipelineStatus(ComponentState.RUNNING, "", tuple(components)), calls, FakeClock())
    found: dict[str, set[str]] = {}
    for family in registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for panel in json.loads((FOLDER / "grafana.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']}", target["expr"]
    for group in yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield f"rule {rule['alert']}", rule["expr"]


def selectors(expression: str) -> list[Any]:
    found: list[Any] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql.VectorSelector):
            found.append(node)
        return True

    promql.walk(promql.parse(expression.replace("$__rate_interval", "5m")), visit)
    return found


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_expression_names_metrics_and_labels_that_exist(where: str, expression: str) -> None:
    names = served() | {"up": {"job"}}
    found = selectors(expression)
    assert found, where
    for selector in found:
        assert selector.name in names, where
        assert {matcher.name for matcher in selector.matchers.matchers} <= names[selector.name], where
    known = set().union(*(names[selector.name] for selector in found)) - {"le"}
    for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
        assert {label.strip() for label in labels.split(",")} <= known | {"le", "job", "instance"}, where


def test_a_metric_that_does_not_exist_would_be_found() -> None:
    assert [selector.name for selector in selectors("sum(rate(cryptoviz_nothing_total[5m])) / up > 1")] == ["cryptoviz_nothing_total", "up"]
    assert "cryptoviz_nothing_total" not in served()


def test_legends_and_texts_use_labels_that_their_series_have() -> None:
    names = served()
    for panel in json.loads((FOLDER / "grafana.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            labels = set().union(*(names[selector.name] for selector in selectors(target["expr"])))
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels
    for group in yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            labels = set().union(*((names | {"up": {"job"}})[selector.name] for selector in selectors(rule["expr"])))
            assert set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values()))) <= labels
            assert set(rule["annotations"]) == {"summary", "remedy"}


def test_the_dashboard_is_as_generated() -> None:
    made = subprocess.run([sys.executable, str(ROOT / "scripts" / "grafana")], capture_output=True, text=True, check=True, timeout=300).stdout
    assert made == (FOLDER / "grafana.json").read_text()


def test_panels_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in json.loads((FOLDER / "grafana.json").read_text())["panels"]:
        place = panel["gridPos"]
        own = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not own & cells
        assert place["x"] + place["w"] <= 24
        cells |= own


def test_the_example_for_prometheus_uses_a_token_to_read() -> None:
    (job,) = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    assert job["job_name"] == "cryptoviz"  # the name in the rules
    assert job["authorization"] == {"credentials_file": "token"}
    assert f"--role {Role.READ}" in (FOLDER / "prometheus.yaml").read_text()


def test_the_page_lists_every_metric() -> None:
    rows = dict(re.findall(r"^\| `(cryptoviz_\w+)`[^|]*\| ([^|]+?) \|", PAGE.read_text(), re.MULTILINE))
    expected = {}
    for kind, metrics in HELP.items():
        for metric in metrics:
            one = exported(kind, metric)
            expected[one.name + ("_total" if one.counter else "")] = one.help
    assert {name: rows.get(name) for name in expected} == expected
    assert set(rows) - set(expected) == {name for name in served() if name.startswith("cryptoviz_")} - set(expected) - {
        "cryptoviz_rpc_seconds_bucket", "cryptoviz_rpc_seconds_sum", "cryptoviz_rpc_seconds_count",
    } | {"cryptoviz_rpc_seconds"}  # fmt: skip
