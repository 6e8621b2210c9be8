"""`cluster.yaml` as Ray's own launcher reads it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config, with_head_node_ip

from cryptoviz.cli.command_table import COMMANDS
from cryptoviz.engines.ray_folder import is_private
from cryptoviz.settings import load_settings

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return loaded


def commands(cluster: dict[str, Any]) -> list[str]:
    names = ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
    return [command for name in names for command in cluster[name]]


@pytest.mark.parametrize("workers", [[], ["192.0.2.11", "192.0.2.12"]])
def test_ray_accepts_it(cluster: dict[str, Any], workers: list[str]) -> None:
    given = cluster | {"provider": cluster["provider"] | {"worker_ips": workers}}
    prepared = prepare_config(given)
    validate_config(prepared)
    assert prepared["max_workers"] == len(workers)
    assert prepared["head_start_ray_commands"] == cluster["head_start_ray_commands"]


def test_ray_refuses_a_wrong_one(cluster: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="no_such_field"):
        validate_config(prepare_config(cluster | {"no_such_field": 1}))


def test_the_commands_are_shell(cluster: dict[str, Any]) -> None:
    for command in with_head_node_ip(commands(cluster), "192.0.2.10"):
        subprocess.run(["bash", "-n", "-c", command], check=True)


def test_nothing_ends_other_peoples_ray(cluster: dict[str, Any]) -> None:
    assert not [command for command in commands(cluster) if "ray stop" in command or "pkill" in command]


def test_the_head_starts_ray_then_the_pipeline(cluster: dict[str, Any]) -> None:
    head, up = cluster["head_start_ray_commands"]
    settings = load_settings()
    assert f"ray start --head --port={settings.ray.gcs_port} " in head
    assert f"--dashboard-host=127.0.0.1 --dashboard-port={settings.ray.dashboard_port} " in head
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head
    assert "CRYPTOVIZ_RAY__ADDRESS=auto" in up
    assert ".venv/bin/cryptoviz up --detach" in up
    assert f'ray start --address="$RAY_HEAD_IP:{settings.ray.gcs_port}"' in cluster["worker_start_ray_commands"][0]
    assert COMMANDS.keys() >= {"up", "status", "down"}


def test_the_first_start_command_runs_here(cluster: dict[str, Any], tmp_path: Path) -> None:
    """Run it with a `ray` that only records its calls, in a home with the checkout at the launcher's place."""
    home = tmp_path / "home"
    (home / "cryptoviz").mkdir(parents=True)
    tools = home / "cryptoviz" / ".venv" / "bin"
    tools.mkdir(parents=True)
    (tools / "python").symlink_to(sys.executable)
    for name, text in {
        "ray": 'echo "$@"; echo "java=$(command -v java)"; echo "mode=$RAY_AUTH_MODE"; echo "$_SPARK_AUTH_SECRET"; echo "$TMPDIR"; '
        'env | grep -c -E "^(DASHBOARD|AUTOSCALER)_METRIC_PORT=-1$|^RAY_enable_metrics_collection=0$"',
        "pgrep": "exit 1",
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("0123abcd\n")
    bash = shutil.which("bash") or "bash"
    done = subprocess.run(
        [bash, "-c", cluster["head_start_ray_commands"][0]],
        env={"HOME": str(home), "PATH": f"{tools}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    called, java, mode, secret, temporary, closed = done.stdout.splitlines()
    assert called.startswith("start --head --port=6380 ")
    assert called.endswith("/ray_bootstrap_config.yaml")
    assert java.endswith("/bin/java")
    assert mode == "mode=token"
    assert closed == "3"
    assert temporary == f"{home}/.cv"
    assert is_private(Path(temporary))
    assert secret == hashlib.sha256(b"spark:0123abcd").hexdigest()


def test_what_is_copied_holds_no_environment_and_no_history(cluster: dict[str, Any]) -> None:
    assert {"**/.venv", "**/.git"} <= set(cluster["rsync_exclude"])
    assert cluster["file_mounts"]["~/cryptoviz"] == "."
