"""A node of `ray up cluster.yaml`, with a program in place of `ray start` where one is started."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from cryptoviz.cli import cluster_node
from cryptoviz.cli.cluster import RayStart, stop_ray
from cryptoviz.cluster_record import read_record
from cryptoviz.engines.ray_folder import is_private
from cryptoviz.errors import EngineUnavailable, PreflightError
from cryptoviz.local.process_identity import wait_ended
from cryptoviz.settings import SPARK_SECRET_VARIABLE, Settings, load_settings

pytestmark = pytest.mark.usefixtures("user")


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home directory of a user whose machine `ray up` has prepared as a head."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0123abcd\n")
    (tmp_path / ".ray" / "auth_token").chmod(0o600)
    (tmp_path / "ray_bootstrap_config.yaml").write_text(json.dumps({"provider": {"head_ip": "127.0.0.1", "worker_ips": []}}))
    return tmp_path


def prepared(monkeypatch: pytest.MonkeyPatch, head: str = "") -> RayStart:
    """What a start would run."""
    starts: list[RayStart] = []

    def start_ray(settings: Settings, *, prepare: object) -> None:
        assert callable(prepare)
        starts.append(prepare(settings))

    monkeypatch.setattr(cluster_node, "start_ray", start_ray)
    assert cluster_node.start_node(head)
    return starts[0]


def test_the_head_has_the_ports_of_the_settings_and_rays_autoscaler(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = prepared(monkeypatch).command
    assert command[1:5] == ["-m", "control.ray_head", "start", "--block"]
    assert {
        "--head", "--port=6380", "--dashboard-host=127.0.0.1", "--dashboard-port=8265", "--node-ip-address=127.0.0.1",
        f"--autoscaling-config={user}/ray_bootstrap_config.yaml",
    } <= set(command)  # fmt: skip


def test_a_worker_joins_the_head_with_the_address_that_leads_there(monkeypatch: pytest.MonkeyPatch) -> None:
    command = prepared(monkeypatch, "127.0.0.1").command
    assert {"--address=127.0.0.1:6380", "--node-ip-address=127.0.0.1"} <= set(command)
    assert "--head" not in command


def test_a_head_with_an_ipv6_address_is_joined_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"--address=[::1]:6380", "--node-ip-address=::1"} <= set(prepared(monkeypatch, "::1").command)


def test_a_head_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PreflightError, match=r"no route to the head no\.such\.invalid"):
        prepared(monkeypatch, "no.such.invalid")
    assert cluster_node.main(["worker", "no.such.invalid"]) == 1
    assert "no.such.invalid" in capsys.readouterr().err


def test_rays_processes_have_token_java_and_sparks_secret_and_no_open_metrics(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOVIZ_PROVIDERS__COINGECKO__API_KEY", "canary-key")
    environment = prepared(monkeypatch).environment
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN_PATH"] == f"{user}/.ray/auth_token"
    assert environment[SPARK_SECRET_VARIABLE] == hashlib.sha256(b"spark:0123abcd").hexdigest()
    assert (Path(environment["PATH"].partition(":")[0]) / "java").is_file()
    closed = ("RAY_enable_metrics_collection", "DASHBOARD_METRIC_PORT", "AUTOSCALER_METRIC_PORT", "RAY_enable_autoscaler_v2")
    assert [environment[name] for name in closed] == ["0", "-1", "-1", "0"]
    assert environment["TMPDIR"] == f"{user}/.cv"
    assert is_private(Path(environment["TMPDIR"]))
    assert "canary-key" not in environment.values()


def test_a_lost_node_is_given_up_within_half_a_minute_and_a_busy_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = prepared(monkeypatch).environment
    period, timeout = (int(environment[f"RAY_health_check_{name}_ms"]) / 1000 for name in ("period", "timeout"))
    failures = int(environment["RAY_health_check_failure_threshold"])
    assert failures * (period + timeout) <= 30
    assert (failures - 1) * (period + timeout) >= 20


def test_a_second_start_changes_nothing_and_a_stop_ends_the_node(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_node, "_command", lambda *_: ["sh", "-c", "echo Ray runtime started; exec sleep 300"])
    assert cluster_node.start_node()
    first = read_record(user / ".cv")
    assert first is not None
    try:
        assert not cluster_node.start_node()
        assert read_record(user / ".cv") == first
    finally:
        assert stop_ray(load_settings(home=user / ".cv"), first)
    assert not first.process.is_alive
    assert not cluster_node.stop_node()


def test_a_node_asks_itself_to_end(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_node, "_command", lambda *_: ["sh", "-c", "echo Ray runtime started; exec sleep 300"])
    cluster_node.start_node()
    record = read_record(user / ".cv")
    assert record is not None
    cluster_node.end_node()
    assert not wait_ended([record.process], 20)


def test_a_failed_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_node, "_command", lambda *_: ["sh", "-c", "echo no space left; exit 1"])
    with pytest.raises(EngineUnavailable, match="no space left"):
        cluster_node.start_node()


def test_without_the_token_of_the_cluster_nothing_starts(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (user / ".ray" / "auth_token").unlink()
    with pytest.raises(PreflightError, match="ray get-auth-token --generate"):
        prepared(monkeypatch)


def test_a_machine_that_ray_up_did_not_prepare_is_no_head(user: Path) -> None:
    (user / "ray_bootstrap_config.yaml").unlink()
    with pytest.raises(PreflightError, match=r"ray_bootstrap_config\.yaml, which `ray up` writes on the head"):
        cluster_node.start_node()


def test_a_start_removes_what_earlier_ones_left_but_rays_last_logs_and_list_of_nodes(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(monkeypatch)
    node = user / ".cv"
    for name in ("blockmgr-1", "ray/session_2026-11-28_01/logs", "ray/session_2026-11-29_01/logs"):
        (node / name).mkdir(parents=True)
    for name in ("liblz4-java-1.so", "ray/cluster-cryptoviz.state"):
        (node / name).touch()
    (node / "out").symlink_to(user / "elsewhere")
    (user / "elsewhere").mkdir()
    prepared(monkeypatch)
    assert sorted(path.name for path in node.iterdir()) == [".lock", "ray"]
    assert sorted(path.name for path in (node / "ray").iterdir()) == ["cluster-cryptoviz.state", "session_2026-11-29_01"]
    assert (user / "elsewhere").is_dir()
