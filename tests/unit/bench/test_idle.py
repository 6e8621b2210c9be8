"""The processes of a demo, and their names in the tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.idle import kind_of_line
from tests.support.processes import processes_of

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"], env={}, cwd="/", stdin=subprocess.PIPE)
print(child.pid, flush=True)
input()
"""


def test_a_process_without_a_trace_of_the_home_is_found_below_one_that_has_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], env={"CRYPTOVIZ_HOME": str(tmp_path)}, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        try:
            assert parent.stdout is not None
            child = int(parent.stdout.readline())
            assert {process.pid for process in processes_of(tmp_path)} == {parent.pid, child}
        finally:
            parent.communicate("\n")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("ray-dashboard-NodeHead-0 (python -c from multiprocessing.forkserver import main; main(25))", "ray dashboard"),
        ("python ray/dashboard/dashboard.py --host=127.0.0.1", "ray dashboard"),
        ("ray/core/src/ray/raylet/raylet --python_worker_command=default_worker.py --java_worker_command=java dashboard/agent.py", "raylet"),
        ("ray::DashboardAgent", "ray agents"),
        ("ray::RuntimeEnvAgent", "ray agents"),
        ("ray::DashboardActor.probe", "DashboardActor"),
        ("python -m dashboard", "dashboard"),
        ("python -m cryptoviz.cluster_guard 4 ray.log -- /bin/ray start --head", "guard"),
        ("python /bin/ray start --head --block", "ray start"),
        ("python -m control.ray_head start --head --block", "ray start"),
        ("python -I -S control/ray_watch.py raylet=12 gcs_server=11", "ray start"),
        ("python -m spark_jobs.maintenance /run/maintenance-result.json", "maintenance round"),
        ("python ray/_private/workers/default_worker.py --node-ip-address=127.0.0.1", "starting worker"),
        ("sleep 1", ""),
    ],
)
def test_each_process_has_a_name(line: str, kind: str) -> None:
    assert kind_of_line(line) == kind
