"""Signals of a command that holds a cluster."""

from __future__ import annotations

import subprocess
import sys

_COMMAND = """
import os, signal
from cryptoviz.cli.leash import Stop

class Cluster:
    def kill(self):
        os.write(1, b"killed ")
        os.kill(os.getpid(), {third})

stop = Stop()
stop.install()
stop.leash, stop.breaks_off = Cluster(), False
for _ in range(2):
    os.kill(os.getpid(), signal.SIGTERM)
"""


def ended_by(third: int) -> tuple[int, bytes, bytes]:
    """Exit code, output and errors of a command that gets SIGTERM twice, and a third signal while the second kills its cluster (0: none)."""
    done = subprocess.run([sys.executable, "-c", _COMMAND.format(third=third)], capture_output=True, timeout=300, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_second_signal_kills_the_cluster_and_says_so() -> None:
    assert ended_by(0) == (130, b"killed ", b"Interrupted a second time; everything is ended at once.\n")


def test_a_third_signal_waits_for_nothing() -> None:
    assert ended_by(15) == (130, b"killed ", b"")
