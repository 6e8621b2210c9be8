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
STUCK = 100
FOREIGN = "(exec -a raylet sleep 3000) >/dev/null 2>&1 & true"


@dataclass(frozen=True)
class Cluster:
    launcher: Launcher
    head: Host
    workers: tuple[Host, Host]
    market: str
    settings: dict[str, str]

    @property
    def hosts(self) -> tuple[Host, ...]:
        return (self.head, *self.workers)

    def status(self) -> dict[str, dict[str, Any]]:
        """`cryptoviz status` on the head, by component."""
        shown = json.loads(self.head.run(f"cd {PROJECT} && .venv/bin/cryptoviz status --json").stdout)
        return {each["name"]: each for each in shown["components"]}

    def incarnations(self) -> dict[str, tuple[int, int]]:
        """Restarts and process of each component. Its state says less: on a busy machine data is stale for a moment, without any change."""
        return {name: (each["restarts"], each["pid"]) for name, each in self.status().items()}

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
    settings = {
        "ENGINES__BIND": head.ip,
        "CONTROL__HOST": head.ip,
        "CONTROL__TLS_CERT": f"{HOME}/cryptoviz/tls.crt",
        "CONTROL__TLS_KEY": f"{HOME}/cryptoviz/tls.key",
        "COLLECT__TICK_S": "2",
        "COLLECT__PROVIDERS": ",".join(PROVIDERS),
        "LAKE__TRIGGER_MS": "2000",  # the readers take longest for many files
        "LAKE__COMPACT_FILES": "100000",  # a plain reader sees rows twice while files are merged
        **{f"PROVIDERS__{name.upper()}__BASE_URL": f"{address}/{name}" for name in PROVIDERS},
    }
    return Cluster(launcher, head, (workers[0], workers[1]), address, settings)


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


def comes_and_goes(command: str) -> bool:
    """Whether a process with this command ends, or begins, without a `ray up`: maintenance, idle workers of Ray and Spark, Ray's connections.

    A worker of Ray is `default_worker.py` until it has its name, `ray::IDLE` or that of its actor.
    """
    parts = ("ray::IDLE", "ray/_private/workers/default_worker.py", "-m spark_jobs.maintenance", "-m spark_jobs.streaming.daemon")
    return any(each in command for each in parts) or command.startswith("ssh ")


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
    cluster.launcher.configure(cluster.settings | {"RAY__WORKERS_TIMEOUT_S": "45"})
    cluster.launcher.write_yaml(cluster.head, [cluster.workers[0].ip, MISSING])
    begun = time.monotonic()
    done = cluster.launcher.up(check=False)
    say(f"ray up with a worker and a missing one: {time.monotonic() - begun:.1f} s, load {load()}")
    assert done.returncode != 0
    assert f"1 workers have not joined within 45 s (CRYPTOVIZ_RAY__WORKERS_TIMEOUT_S): {MISSING}." in done.stdout + done.stderr
    say("until all run:", timed(cluster.until_it_works))
    assert cluster.nodes() == 2


def test_a_second_ray_up_adds_a_worker(cluster: Cluster) -> None:
    before = cluster.incarnations()
    cluster.launcher.configure(cluster.settings)
    cluster.launcher.write_yaml(cluster.head, [worker.ip for worker in cluster.workers])
    say("ray up with another worker:", timed(cluster.launcher.up))
    assert cluster.nodes() == 3
    assert cluster.incarnations() == before


def test_the_launcher_asks_for_the_status_by_ray_exec_and_over_tls(cluster: Cluster) -> None:
    status = ".venv/bin/cryptoviz status --json"
    refused = cluster.launcher.run(status, check=False)
    assert refused.returncode != 0
    fetch = ".venv/bin/ray rsync-down cluster.yaml '~/.local/share/cryptoviz/control.token' ~/control.token"
    cluster.launcher.run(f"{fetch} && install -D -m 600 ~/control.token ~/.local/share/cryptoviz/control.token && chmod 700 ~/.local/share/cryptoviz")

    def all_run_for_both() -> bool:
        by_exec = {each["name"]: each["state"] for each in cluster.launcher.status()["components"]}
        over_tls = {each["name"]: each["state"] for each in json.loads(cluster.launcher.run(status).stdout)["components"]}
        assert by_exec == over_tls
        assert set(over_tls.values()) == {"RUNNING"}
        return True

    eventually(all_run_for_both, 180, 1.0)


def test_scrapers_and_executor_run_on_the_workers(cluster: Cluster) -> None:
    for name in PROVIDERS:  # they were started when there was one worker
        cluster.head.run(f"cd {PROJECT} && .venv/bin/cryptoviz restart scraper/{name}")
    cluster.until_it_works()
    workers = {worker.ip for worker in cluster.workers}
    status = cluster.status()
    scrapers = {status[f"scraper/{name}"]["nodes"][0] for name in PROVIDERS}
    assert scrapers == workers
    *_, executor = status["lake"]["nodes"]
    assert executor in workers
    assert cluster.writer_host().ip == executor
    say("nodes", {name: each["nodes"] for name, each in status.items()})
    assert_each_row_once(cluster, 100)


def test_ray_up_again_changes_nothing(cluster: Cluster) -> None:
    before = [host.identities() for host in cluster.hosts]
    say("ray up again:", timed(cluster.launcher.up))
    after = [host.identities() for host in cluster.hosts]
    for host, known, now in zip(cluster.hosts, before, after, strict=True):
        ended = [command for process, command in known.items() if process not in now and not comes_and_goes(command)]
        begun = [command for process, command in now.items() if process not in known and not comes_and_goes(command)]
        assert (ended, begun) == ([], []), host.name
        assert any("raylet" in command for command in known.values())


def test_writers_of_an_earlier_lake_on_another_host_are_ended_and_double_nothing(cluster: Cluster) -> None:
    host = cluster.writer_host()
    frozen = writers(host)
    with stopped(frozen):
        eventually(lambda: cluster.status()["lake"]["metrics"]["lag_records"] > STUCK, 60, 0.5)  # their batch is planned, and not written
        begun = time.monotonic()
        cluster.head.run(f"kill -9 {cluster.status()['lake']['pid']}")
        cluster.until_noticed()
        cluster.until_it_works()
        say(f"lake killed while its writers on {host.name} hang: recovered after {time.monotonic() - begun:.1f} s, load {load()}")
        eventually(lambda: not any(process.is_running() for process in frozen), 30)
    assert_each_row_once(cluster, 500)


def test_a_worker_that_is_cut_off_for_a_minute_loses_and_doubles_nothing(cluster: Cluster) -> None:
    host = cluster.writer_host()
    earlier = writers(host)
    host.cable(connected=False)
    begun = time.monotonic()
    cluster.until_noticed()
    say(f"{host.name} cut off: noticed after {time.monotonic() - begun:.1f} s, load {load()}")
    cluster.until_it_works()
    say(f"replaced after {time.monotonic() - begun:.1f} s, load {load()}, its writers:", sum(process.is_running() for process in earlier))
    time.sleep(max(0.0, CUT_S - (time.monotonic() - begun)))
    host.cable(connected=True)
    say("back in the cluster after the end of the cut:", timed(lambda: eventually(lambda: cluster.nodes() == 3, 180, 1.0)))
    cluster.until_it_works()
    eventually(lambda: not any(process.is_running() for process in earlier), 60)
    assert_each_row_once(cluster, 1000)


def test_a_worker_that_is_killed_and_booted_loses_and_doubles_nothing(cluster: Cluster) -> None:
    host = cluster.writer_host()
    begun = time.monotonic()
    host.kill()
    cluster.until_noticed()
    say(f"worker {host.name} killed: noticed after {time.monotonic() - begun:.1f} s, load {load()}")
    cluster.until_it_works()
    say(f"and replaced after {time.monotonic() - begun:.1f} s, load {load()}")
    host.boot()
    say("back in the cluster after its boot:", timed(lambda: eventually(lambda: cluster.nodes() == 3, 180, 2.0)))
    cluster.until_it_works()
    assert_each_row_once(cluster, 1000)


def test_a_killed_head_continues_where_it_was_after_ray_up(cluster: Cluster) -> None:
    cluster.head.run(f"cd {PROJECT} && .venv/bin/cryptoviz stop --yes {STOPPED}")
    rows = assert_each_row_once(cluster, 1000)
    cluster.head.kill()
    cluster.head.boot()
    begun = time.monotonic()
    cluster.launcher.up()
    say(f"head killed: ray up took {time.monotonic() - begun:.1f} s, load {load()}")
    cluster.until_it_works(STOPPED)
    say(f"all run after {time.monotonic() - begun:.1f} s, load {load()}")
    assert cluster.status()[STOPPED]["desired"] == "STOPPED"
    assert cluster.nodes() == 3
    assert_each_row_once(cluster, rows)


def test_ray_down_ends_every_process_of_the_cluster_and_no_other(cluster: Cluster) -> None:
    for host in cluster.hosts:
        host.run(FOREIGN)
    say("ray down:", timed(cluster.launcher.down))
    assert [host.processes() for host in cluster.hosts] == [["raylet 3000"]] * 3
