"""The hosts themselves: what is seen inside and outside, and what an aborted run leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.cluster.hosts import HostNetwork
from tests.support.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ABORTED = """
import time
from tests.cluster.hosts import HostNetwork
with HostNetwork() as network:
    network.add("one").boot()
    print(network.folder, flush=True)
    time.sleep(300)
"""


def test_hosts_see_each_other_and_nothing_else(network: HostNetwork) -> None:
    one, two = network.add("one").boot(), network.add("two").boot()
    assert one.run("hostname; ls -A ~").stdout.split() == ["one", ".bashrc", ".cache", *_interpreter(), ".ssh"]
    assert one.run("ssh -o StrictHostKeyChecking=no two hostname").stdout == "two\n"
    two.run("sleep 299 >/dev/null 2>&1 & true")
    assert two.processes() == ["sleep 299"]
    assert one.processes() == []
    one.run("touch /tmp/mine ~/mine")
    assert two.run("ls -A /tmp; ls -A ~ | grep mine", check=False).stdout == ""
    assert "Read-only file system" in one.run("touch /etc/mine", check=False).stderr
    assert not Path("/tmp/mine").exists()


def test_a_killed_host_boots_again_with_its_disk_and_no_process(network: HostNetwork) -> None:
    one, two = network.hosts["one"], network.hosts["two"]
    two.kill()
    assert one.run("timeout 3 ssh -o ConnectTimeout=2 -o StrictHostKeyChecking=no two true", check=False).returncode != 0
    two.boot().run("touch ~/kept /tmp/lost")
    two.kill()
    two.boot()
    assert two.processes() == []
    assert two.run("ls ~/kept /tmp/lost", check=False).stdout.split() == [str(Path.home() / "kept")]
    assert one.run("ssh -o StrictHostKeyChecking=no two hostname", 20).stdout == "two\n"


def test_an_aborted_run_leaves_no_process_and_its_disks_to_the_next() -> None:
    run = subprocess.Popen([sys.executable, "-c", ABORTED], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert run.stdout is not None
    folder = Path(run.stdout.readline().strip())
    assert _processes_of(folder)
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    eventually(lambda: not _processes_of(folder))
    assert folder.is_dir()
    with HostNetwork():
        assert not folder.exists()


def _interpreter() -> list[str]:
    """The folder in the home with Python, if it is there."""
    place = Path(sys.base_prefix)
    return [place.relative_to(Path.home()).parts[0]] if place.is_relative_to(Path.home()) else []


def _processes_of(folder: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(folder) in argument for argument in process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
