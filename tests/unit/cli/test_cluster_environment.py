"""Start options of our Ray cluster: loopback only, tokens, and no port without a token."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest

from cryptoviz.cli import cluster
from cryptoviz.errors import SettingsError
from cryptoviz.settings import SPARK_SECRET_VARIABLE, load_settings
from cryptoviz.settings.listeners import pipeline_ports


@pytest.fixture(autouse=True)
def java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "java_home", lambda: Path("/opt/java"))


def test_an_own_cluster_stays_on_loopback_with_a_token_and_without_metrics_ports(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    environment = cluster._environment(settings)
    assert settings.ray.node_ip == "127.0.0.1"
    assert "--node-ip-address=127.0.0.1" in cluster._ray_command(settings, tmp_path)
    assert environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert (environment["RAY_enable_metrics_collection"], environment["DASHBOARD_METRIC_PORT"]) == ("0", "-1")
    assert environment["METRICS_RECORD_INTERVAL_S"] == "86400"
    assert (environment["EVENT_AGENT_REPORT_INTERVAL_SECONDS"], environment["REPORTER_UPDATE_INTERVAL_MS"]) == ("5", "15000")
    assert environment["RAY_AUTH_MODE"] == "token"
    token = settings.ray_token_file.read_bytes()
    assert environment[SPARK_SECRET_VARIABLE] == hashlib.sha256(b"spark:" + token).hexdigest()
    assert stat.S_IMODE(settings.ray_token_file.stat().st_mode) == 0o600


def test_rays_client_server_runs_only_with_a_port_of_its_own(tmp_path: Path) -> None:
    for port, arguments, listeners in ((None, [], []), (10001, ["--ray-client-server-port=10001"], [10001])):
        settings = load_settings(home=tmp_path, ray={"client_port": port})
        assert [one for one in cluster._ray_command(settings, tmp_path) if one.startswith("--ray-client")] == arguments
        assert [use.port for use in pipeline_ports(settings) if use.name == "Ray client"] == listeners


@pytest.mark.parametrize(("content", "mode"), [("ab" * 32, 0o644), ("", 0o600), ("known", 0o600)])
def test_a_token_that_others_may_read_or_have_created_is_refused(tmp_path: Path, content: str, mode: int) -> None:
    settings = load_settings(home=tmp_path)
    settings.ray_token_file.write_text(content)
    settings.ray_token_file.chmod(mode)
    with pytest.raises(SettingsError, match=r"others may read|remove it"):
        cluster._environment(settings)


def test_another_address_is_left_to_ray(tmp_path: Path) -> None:
    environment = cluster._environment(load_settings(home=tmp_path, ray={"node_ip": "192.0.2.7"}))
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in environment
    assert environment["RAY_AUTH_MODE"] == "token"


@pytest.mark.parametrize(("address", "alone"), [("auto", False), ("192.0.2.7:6380", False), ("127.0.0.1:6380", True), ("localhost:6380", True)])
def test_a_cluster_that_is_joined_keeps_its_own_ways(tmp_path: Path, address: str, alone: bool) -> None:
    """An external cluster: only its address is used."""
    environment = cluster._environment(load_settings(home=tmp_path, ray={"address": address}))
    assert ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" in environment) == alone
    assert not {"RAY_AUTH_MODE", "RAY_enable_metrics_collection", "METRICS_RECORD_INTERVAL_S", SPARK_SECRET_VARIABLE} & environment.keys()
