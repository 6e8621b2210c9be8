"""`cluster.yaml` as Ray's own launcher reads it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config, with_head_node_ip

from cryptoviz.cli.command_table import COMMANDS

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


def test_the_head_starts_ray_waits_for_workers_then_starts_the_pipeline(cluster: dict[str, Any]) -> None:
    head, up = cluster["head_start_ray_commands"]
    assert head.endswith("scripts/cluster/ray start --head --autoscaling-config=~/ray_bootstrap_config.yaml")  # Ray's launcher looks for these words
    assert up.index("cluster_node wait") < up.index("CRYPTOVIZ_RAY__ADDRESS=auto") < up.index(".venv/bin/cryptoviz up --detach")
    assert cluster["worker_start_ray_commands"][0].endswith('scripts/cluster/ray start --address="$RAY_HEAD_IP"')
    assert COMMANDS.keys() >= {"up", "status", "down"}


TOOLS = {
    "python": 'echo "python $*" >> "$HOME/calls"; [ "$*" != "-m cryptoviz.cli.cluster_node wait" ] || exit $MISSING',
    "cryptoviz": 'echo "cryptoviz $* $CRYPTOVIZ_RAY__ADDRESS" >> "$HOME/calls"; [ "$1" != status ] || exit $STATUS',
}


@pytest.mark.parametrize(("missing", "running"), [(0, False), (1, False), (1, True), (0, True)])
def test_a_missing_worker_fails_ray_up_but_keeps_no_pipeline_from_starting(
    cluster: dict[str, Any], tmp_path: Path, missing: int, running: bool
) -> None:
    tools = tmp_path / "cryptoviz" / ".venv" / "bin"
    tools.mkdir(parents=True)
    shutil.copytree(ROOT / "scripts" / "cluster", tmp_path / "cryptoviz" / "scripts" / "cluster")
    for name, text in TOOLS.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "MISSING": str(missing), "STATUS": str(int(not running))}
    codes = [
        subprocess.run(["bash", "-c", command], env=environment, check=False, timeout=60).returncode for command in cluster["head_start_ray_commands"]
    ]
    assert codes == [0, missing]
    starts = [] if running else ["cryptoviz up --detach --keep-stopped auto"]
    assert (tmp_path / "calls").read_text().splitlines() == [
        "python -m cryptoviz.cli.cluster_node head", "python -m cryptoviz.cli.cluster_node wait", "cryptoviz status auto", *starts,
    ]  # fmt: skip


def test_the_shells_of_a_node_find_ray_once(cluster: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "cryptoviz" / "scripts" / "cluster").mkdir(parents=True)
    found = tmp_path / "cryptoviz" / "scripts" / "cluster" / "ray"
    found.write_text("#!/bin/sh\n")
    found.chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    for _ in range(2):
        subprocess.run(["bash", "-c", cluster["setup_commands"][-1]], env=environment, check=True, timeout=60)
    assert (tmp_path / ".bashrc").read_text().count("scripts/cluster") == 1
    where = subprocess.run(
        ["bash", "-c", "source ~/.bashrc; command -v ray"], env=environment, check=True, capture_output=True, text=True, timeout=60
    )
    assert where.stdout.strip() == str(found)


def test_what_is_copied_holds_no_environment_and_no_history(cluster: dict[str, Any]) -> None:
    assert {"**/.venv", "**/.git"} <= set(cluster["rsync_exclude"])
    assert cluster["file_mounts"]["~/cryptoviz"] == "."


@pytest.mark.parametrize(
    ("given", "done"),
    [
        ("start --head --autoscaling-config=x", "python -m cryptoviz.cli.cluster_node head"),
        ("start --address=192.0.2.10", "python -m cryptoviz.cli.cluster_node worker 192.0.2.10"),
        ("stop", "python -m cryptoviz.cli.cluster_node stop"),
        ("status -v", "ray status -v mode=token"),
    ],
)
def test_the_nodes_ray_starts_and_stops_this_cluster_only(tmp_path: Path, given: str, done: str) -> None:
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    for name, text in {"python": 'echo "python $*"', "ray": 'echo "ray $* mode=$RAY_AUTH_MODE"'}.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    shutil.copytree(ROOT / "scripts" / "cluster", tmp_path / "scripts" / "cluster")
    command = [str(tmp_path / "scripts" / "cluster" / "ray"), *given.split()]
    assert subprocess.check_output(command, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, text=True, timeout=60).strip() == done
