"""`ray up cluster.yaml` with workers: engines on the head that listen for them over TLS, and the replay market on a host beside the cluster.

In the order of the tests, which share one cluster. Its hosts have the disk of a host that has installed everything; `test_head_only.py` begins with a
bare one.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from cryptoviz.settings import LAKE_RUN_VARIABLE
from tests.cluster.hosts import HOME, ROOT, Host, HostNetwork
from tests.cluster.launcher import LIVE_SETTINGS, PROJECT, Launcher, add_with_project, installed_image
from tests.support.measure import load, say
from tests.support.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

MARKET_PORT = 8999
PROVIDERS = ("coingecko", "coinmarketcap")
MISSING = "10.77.0.99"
STOPPED = "scraper/coinmarketcap"
CUT_S = 60.0
FRESH_S = 5.0
FOREIGN = "(exec -a raylet sleep 3000) >/dev/null 2>&1 & true"


@dataclass(frozen=True)
class Cluster:
    launcher: Launcher
    head: Host
    workers: tuple[Host, Host]
    market: str

    @property
    def hosts(self) -> tuple[Host, ...]:
        return (self.head, *self.workers)

    def status(self) -> dict[str, dict[str, Any]]:
        """`cryptoviz status` on the head, by component."""
        shown = json.loads(self.head.run(f"cd {PROJECT} && .venv/bin/cryptoviz status --json").stdout)
        return {each["name"]: each for each in shown["components"]}

    def works(self, *stopped: str) -> bool:
        """Whether all components but those run and rows arrive in the lake; raises AssertionError with the others."""
        status = self.status()
        others = {name: (each["state"], each["message"]) for name, each in status.items() if each["state"] != "RUNNING" and name not in stopped}
        assert not others, others
        age_s = status["lake"]["metrics"].get("last_commit_age_s")
        assert age_s is not None
        assert age_s < FRESH_S
        return True

    def until_it_works(self, *stopped: str, timeout_s: float = 300.0) -> None:
        eventually(lambda: self.works(*stopped), timeout_s, 1.0)

    def until_noticed(self, timeout_s: float = 120.0) -> None:
        """Until a component does not run."""
        eventually(lambda: any(each["state"] != "RUNNING" for each in self.status().values()), timeout_s, 1.0)

    def compare(self) -> dict[str, dict[str, int]]:
        """Kafka, the lake and the market's request log; see `compare_lake`."""
        command = f"cd {PROJECT} && .venv/bin/python -m tests.cluster.compare_lake {LIVE_SETTINGS} {self.market}"
        found: dict[str, dict[str, int]] = json.loads(self.head.run(command, 300).stdout)
        return found

    def nodes(self) -> int:
        """Number of nodes that Ray has as alive."""
        shown = self.head.run(f"cd {PROJECT} && scripts/cluster/ray status").stdout
        return sum(int(line.split()[0]) for line in shown.splitlines() if line.endswith("local.cluster.node"))

    def process(self, title: str, host: Host) -> int:
        """Id of the process with this title."""
        (found,) = (pid for (pid, _), command in host.identities().items() if command.startswith(title))
        return found

    def writer_host(self, *without: Host) -> Host:
        """The host with the executor's Python workers."""
        found = [host for host in self.hosts if host not in without and writers(host)]
        assert len(found) == 1, [host.name for host in found]
        return found[0]


@pytest.fixture(scope="module")
def cluster(network: HostNetwork) -> Cluster:
    image = installed_image(network)
    head, *workers = (network.add(name, image=image).boot() for name in ("head", "worker-1", "worker-2"))
    market = add_with_project(network, "market").boot()
    address = f"http://{market.ip}:{MARKET_PORT}"
    serve = f"cd {ROOT} && {sys.executable} -m tests.cluster.serve_market {market.ip} {MARKET_PORT} ~/log"
    market.run(f"({serve}) >~/market.log 2>&1 & true")
    launcher = Launcher(network, {}, demo=False)
    launcher.make_certificate(head)
    bases = {f"PROVIDERS__{name.upper()}__BASE_URL": f"{address}/{name}" for name in PROVIDERS}
    launcher.configure(
        {
            "ENGINES__BIND": head.ip,
            "CONTROL__HOST": head.ip,
            "CONTROL__TLS_CERT": f"{HOME}/cryptoviz/tls.crt",
            "CONTROL__TLS_KEY": f"{HOME}/cryptoviz/tls.key",
            "COLLECT__TICK_S": "1",
            "COLLECT__PROVIDERS": ",".join(PROVIDERS),
            "LAKE__COMPACT_FILES": "100000",  # a plain reader sees rows twice while files are merged
            "RAY__WORKERS_TIMEOUT_S": "45",
            **bases,
        }
    )
    return Cluster(launcher, head, (workers[0], workers[1]), address)


def timed(action: Callable[[], object]) -> str:
    begun = time.monotonic()
    action()
    return f"{time.monotonic() - begun:.1f} s (load {load()})"


def writers(host: Host) -> list[psutil.Process]:
    """Python workers of Spark that write the lake, also of ended runs."""
    found = []
    for pid, _ in host.identities():
        try:
            process = psutil.Process(pid)
            if LAKE_RUN_VARIABLE in process.environ() and "spark_jobs.streaming.daemon" in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


@contextmanager
def stopped(processes: list[psutil.Process]) -> Iterator[None]:
    """Processes that do nothing within the context."""
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            if process.is_running():
                process.send_signal(signal.SIGCONT)


def settled(host: Host) -> dict[tuple[int, float], str]:
    """Processes by id and start time, without those that come and go by themselves: Ray's idle workers, rounds of maintenance."""
    passing = ("ray::IDLE", "python -m spark_jobs.maintenance")
    return {key: command for key, command in host.identities().items() if not any(each in command for each in passing)}


def assert_each_row_once(cluster: Cluster, least: int) -> int:
    """Returns the number of rows."""
    found = cluster.compare()
    say("rows", found)
    assert found.keys() == {"by_delta", "by_folder"}
    for counts in found.values():
        assert counts["rows"] > least
        assert counts == counts | {"lost": 0, "doubled": 0, "unknown": 0, "changed": 0, "unserved": 0}
    return found["by_delta"]["rows"]


def test_a_missing_worker_is_named_and_ray_up_fails_while_the_pipeline_runs(cluster: Cluster) -> None:
    cluster.launcher.write_yaml(cluster.head, [cluster.workers[0].ip, MISSING])
    begun = time.monotonic()
    done = cluster.launcher.up(check=False)
    say(f"ray up with a worker and a missing one: {time.monotonic() - begun:.1f} s, load {load()}")
    assert done.returncode != 0
    assert f"1 workers have not joined within 45 s (CRYPTOVIZ_RAY__WORKERS_TIMEOUT_S): {MISSING}." in done.stdout + done.stderr
    say("until all run:", timed(cluster.until_it_works))
    assert cluster.nodes() == 2


def test_a_second_ray_up_adds_a_worker(cluster: Cluster) -> None:
    before = {name: (each["restarts"], each["since"]) for name, each in cluster.status().items()}
    cluster.launcher.write_yaml(cluster.head, [worker.ip for worker in cluster.workers])
    say("ray up with another worker:", timed(cluster.launcher.up))
    assert cluster.nodes() == 3
    assert {name: (each["restarts"], each["since"]) for name, each in cluster.status().items()} == before


def test_the_launcher_asks_for_the_status_by_ray_exec_and_over_tls(cluster: Cluster) -> None:
    by_exec = {each["name"]: each["state"] for each in cluster.launcher.status()["components"]}
    status = ".venv/bin/cryptoviz status --json"
    refused = cluster.launcher.run(status, check=False)
    assert refused.returncode != 0
    fetch = ".venv/bin/ray rsync-down cluster.yaml '~/.local/share/cryptoviz/control.token' ~/control.token"
    cluster.launcher.run(f"{fetch} && install -D -m 600 ~/control.token ~/.local/share/cryptoviz/control.token && chmod 700 ~/.local/share/cryptoviz")
    over_tls = {each["name"]: each["state"] for each in json.loads(cluster.launcher.run(status).stdout)["components"]}
    assert by_exec == over_tls
    assert set(over_tls.values()) == {"RUNNING"}


def test_ray_down_ends_every_process_of_the_cluster_and_no_other(cluster: Cluster) -> None:
    for host in cluster.hosts:
        host.run(FOREIGN)
    say("ray down:", timed(cluster.launcher.down))
    assert [host.processes() for host in cluster.hosts] == [["raylet 3000"]] * 3
