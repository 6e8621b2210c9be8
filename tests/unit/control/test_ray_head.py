"""Ray's command line as the pipeline starts it: what becomes of it once the node runs, and which processes it starts."""

from __future__ import annotations

import subprocess
import sys

from tests.support.documents import ROOT

BECOMES = """
import os
from types import SimpleNamespace
from ray._private import node
from ray.scripts import scripts
from control import ray_head

def process(pid):
    return [SimpleNamespace(process=SimpleNamespace(pid=pid))]

def command():
    started = {"log_monitor": process(4), "gcs_server": process(3), "dashboard": process(2), "raylet": process(1)}
    node.Node.dead_processes(SimpleNamespace(all_processes=started))

os.execv = lambda program, arguments: print(arguments[1:3], os.path.basename(arguments[3]), arguments[4:])
scripts.main = command
ray_head.main()
"""

STARTS = """
from ray._private import services
from ray.scripts import scripts
services.start_ray_process = lambda command, kind: print(kind, command)
from control import ray_head

def command():
    services.start_ray_process(["python", "ray/dashboard.py", "--port=1"], "dashboard")
    services.start_ray_process(["raylet"], "raylet")

scripts.main = command
ray_head.main()
"""


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_running_node_is_watched_by_a_small_program_without_the_dashboard() -> None:
    """Ray's own loop kills all processes once one has ended with an error, also the dashboard, which nothing needs."""
    assert run(BECOMES) == "['-I', '-S'] ray_watch.py ['raylet=1', 'gcs_server=3', 'log_monitor=4']\n"


def test_the_dashboard_starts_gently_and_without_modules_of_unused_libraries() -> None:
    modules = "EventHead,JobHead,NodeHead,ReportHead,StateHead"
    ours = str(ROOT / "control" / "ray_dashboard.py")
    assert run(STARTS) == (
        f"dashboard {['nice', '-n', '10', 'python', ours, 'ray/dashboard.py', '--port=1', f'--modules-to-load={modules}']}\n"
        "raylet ['raylet']\n"
    )  # fmt: skip
