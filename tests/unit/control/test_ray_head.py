"""Ray's command line as the pipeline starts it: what its loop sees of processes that have ended."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import subprocess
from types import SimpleNamespace
from ray._private import node
from ray.scripts import scripts
from control import ray_head

def processes(exit_code):
    process = subprocess.Popen(["sh", "-c", f"exit {exit_code}"])
    process.wait()
    return [SimpleNamespace(process=process)]

def command():
    found = node.Node.dead_processes(SimpleNamespace(all_processes={"dashboard": processes(1), "raylet": processes(3)}))
    print([(kind, process.returncode) for kind, process in found])

scripts.main = command
ray_head.main()
"""


def test_the_end_of_rays_dashboard_does_not_end_the_node() -> None:
    """Its loop kills all processes once one has ended with an error, also the dashboard, which nothing needs."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("[('raylet', 3)]\n", 0), done.stderr
