"""Prometheus' own checker of the rules and of the example, and unit tests of the alerts, where promtool is installed (`scripts/promtool`)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml

from cryptoviz.local.default_folders import cache_dir
from tests.support.documents import ROOT

RULES = ROOT / "monitoring" / "rules.yaml"
ALERTS = Path(__file__).with_name("alerts.yaml")


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool") or shutil.which("promtool", path=str(cache_dir() / "promtool"))
    if found is None:
        pytest.skip("promtool is not installed: scripts/promtool")
    return found


def run(*command: str, folder: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=folder, env={"PATH": os.defpath}, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_and_example_are_valid_for_prometheus(promtool: str, tmp_path: Path) -> None:
    count = sum(len(group["rules"]) for group in yaml.safe_load(RULES.read_text())["groups"])
    assert f"{count} rules found" in run(promtool, "check", "rules", str(RULES))
    for name in ("prometheus.yaml", "rules.yaml"):
        shutil.copy(RULES.with_name(name), tmp_path)
    (tmp_path / "token").write_text("x")
    assert "valid prometheus config file" in run(promtool, "check", "config", "prometheus.yaml", folder=tmp_path)


def test_alerts_fire_as_their_tests_say(promtool: str) -> None:
    assert "SUCCESS" in run(promtool, "test", "rules", str(ALERTS))


def test_a_changed_threshold_fails_the_tests_of_its_alert(promtool: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES.read_text().replace("last_publish_age_seconds > 300", "last_publish_age_seconds > 200"))
    (tmp_path / "alerts.yaml").write_text(ALERTS.read_text().replace("../../../monitoring/rules.yaml", "rules.yaml"))
    with pytest.raises(AssertionError, match="CryptoVizNoTicks"):
        run(promtool, "test", "rules", "alerts.yaml", folder=tmp_path)


def test_each_alert_has_a_test_that_fires_and_one_that_is_silent() -> None:
    alerts = {rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
    tested = [
        (one["alertname"], bool(one.get("exp_alerts"))) for test in yaml.safe_load(ALERTS.read_text())["tests"] for one in test["alert_rule_test"]
    ]
    assert set(Counter(tested)) == {(alert, fires) for alert in alerts for fires in (True, False)}
