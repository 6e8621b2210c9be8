"""`ray up cluster.yaml` with a head and no worker, from a host with nothing but Python; in the order of the tests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.hosts import HOME, Host, HostNetwork
from tests.cluster.launcher import DEMO_SETTINGS, PROJECT, Launcher
from tests.support.measure import say
from tests.support.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

FOREIGN = "(exec -a raylet sleep 3000) >/dev/null 2>&1 & true"


@dataclass(frozen=True)
class Cluster:
    launcher: Launcher
    head: Host


@pytest.fixture(scope="module")
def cluster(network: HostNetwork) -> Cluster:
    launcher = Launcher(network, {})
    head = network.add("head").boot()
    launcher.write_yaml(head)
    launcher.make_certificate(head)
    launcher.configure({"CONTROL__HOST": head.ip, "CONTROL__TLS_CERT": f"{HOME}/cryptoviz/tls.crt", "CONTROL__TLS_KEY": f"{HOME}/cryptoviz/tls.key"})
    say("ray up from a bare host", launcher.timed(launcher.up))
    return Cluster(launcher, head)


def test_everything_runs_and_the_command_line_finds_it(cluster: Cluster) -> None:
    say("until all run", cluster.launcher.timed(lambda: eventually(lambda: cluster.launcher.all_run(), 600, 5.0)))
    shown = cluster.launcher.exec(f"cd {PROJECT} && .venv/bin/cryptoviz status").stdout
    assert "/.ray/auth_token" in shown.replace("\r\n", "")


def test_the_launcher_asks_the_control_service_over_tls_with_its_token(cluster: Cluster) -> None:
    status = ".venv/bin/cryptoviz status --json"
    assert cluster.launcher.run(status, check=False).returncode != 0
    fetch = ".venv/bin/ray rsync-down cluster.yaml '~/.local/share/cryptoviz-demo/control.token' ~/control.token"
    cluster.launcher.run(f"{fetch} && install -D -m 600 ~/control.token ~/.local/share/cryptoviz/control.token && chmod 700 ~/.local/share/cryptoviz")
    states = {each["name"]: each["state"] for each in json.loads(cluster.launcher.run(status).stdout)["components"]}
    assert states["lake"] == "RUNNING"
    assert len(states) > 8


def test_rays_own_command_line_has_the_token(cluster: Cluster) -> None:
    assert "Total Usage" in cluster.launcher.exec("ray status").stdout


def test_a_second_ray_up_changes_nothing(cluster: Cluster) -> None:
    before = state(cluster)
    say("second ray up", cluster.launcher.timed(cluster.launcher.up))
    assert state(cluster) == before


def test_two_readers_find_each_row_once(cluster: Cluster) -> None:
    found = json.loads(cluster.head.run(f"cd {PROJECT} && .venv/bin/python -m tests.cluster.compare_lake {DEMO_SETTINGS}", 300).stdout)
    say("rows", {reader: counts["rows"] for reader, counts in found.items()})
    assert found.keys() == {"by_delta", "by_folder"}
    for counts in found.values():
        assert counts["rows"] > 100
        assert counts == counts | {"lost": 0, "doubled": 0, "unknown": 0, "changed": 0}


def test_ray_down_ends_every_process_of_the_cluster_and_no_other(cluster: Cluster) -> None:
    cluster.head.run(FOREIGN)
    say("ray down", cluster.launcher.timed(cluster.launcher.down))
    assert cluster.head.processes() == ["raylet 3000"]


def state(cluster: Cluster) -> dict[str, Any]:
    """The node's process, and for each component how often it was restarted and its process."""
    components = cluster.launcher.status()["components"]
    node = json.loads(cluster.head.run("cat ~/.cv/run/cluster.json").stdout)["process"]
    return {"node": node} | {each["name"]: (each["restarts"], each["pid"]) for each in components}
