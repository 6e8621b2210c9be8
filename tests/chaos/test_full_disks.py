"""Fault 36 in a whole pipeline: the disks of Kafka, MinIO, Valkey, the lake's scratch, the logs and Ray are full for a while.

Each is a small file system of its own, in a mount namespace of the demo: nothing outside sees them. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cryptoviz.cluster_record import read_record
from cryptoviz.local.home import claim
from tests.chaos.pipeline_rig import Recovery, assert_exact, assert_no_longer_said, assert_none_skipped, component, in_order, live
from tests.chaos.rig import ROUNDS, Figures
from tests.support import engines
from tests.support.measure import say
from tests.support.pipeline import Demo, detached_demo, environment
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and util-linux"),
]

RAY = "Ray"
DISKS = {"kafka": 160, "redis": 48, "lake-scratch": 48, "logs": 64, "minio": 320, RAY: 700}
"""Folders of the home, and Ray's, with the size of their disks, MB."""
TELLS = {"kafka": "kafka", "redis": "redis", "lake-scratch": "lake", "logs": "collector", "minio": "object-store", RAY: "collector"}
"""The component that is asked about the disk."""
FULL_S = 8.0


@dataclass
class Mounted:
    """A demo and its disks, as its own processes see them."""

    demo: Demo

    def place(self, disk: str) -> Path:
        """The folder, from outside the namespace."""
        record = read_record(self.demo.settings.home)
        assert record is not None
        inside = Path("/tmp") if disk == RAY else self.demo.settings.home / disk
        return Path(f"/proc/{record.pid}/root") / inside.relative_to("/")

    @contextlib.contextmanager
    def full(self, disk: str) -> Iterator[None]:
        """No byte is left within the context: whatever the pipeline frees is taken again."""
        folder, done = self.place(disk), threading.Event()
        filler = folder / ".filler"

        def fill() -> None:
            with filler.open("ab", buffering=0) as file:
                while not done.is_set():
                    try:
                        while True:
                            file.write(bytes(64 * 1024))
                    except OSError:
                        done.wait(0.05)

        thread = threading.Thread(target=fill, daemon=True)
        thread.start()
        try:
            eventually(lambda: (disk_of := os.statvfs(folder)).f_bavail * disk_of.f_frsize < 64 * 1024, 30, 0.05)
            yield
        finally:
            done.set()
            thread.join(30)
            filler.unlink()


@pytest.fixture(scope="module")
def mounted() -> Iterator[Mounted]:
    assert not engines.EXTERNAL
    # Not below /tmp, which the demo has for itself.
    home = Path(tempfile.mkdtemp(prefix="cryptoviz-disks-", dir="/var/tmp"))
    try:
        claim(home)
        mounts = [f"mount -t tmpfs -o mode=1777,size={DISKS[RAY]}m cryptoviz-test /tmp"]
        for name, size in DISKS.items():
            if name != RAY:
                (home / name).mkdir(mode=0o700)
                mounts.append(f"mount -t tmpfs -o mode=700,size={size}m cryptoviz-test '{home / name}'")
        script = "; ".join(["set -e", *mounts, 'exec "$@"'])
        prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
        with detached_demo(home, environment(home, 0.5), prefix) as demo:
            demo.await_rows()
            yield Mounted(demo)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize("disk", list(DISKS))
def test_a_full_disk_is_named_and_costs_nothing_that_was_acknowledged(mounted: Mounted, disk: str) -> None:
    demo, figures = mounted.demo, Figures("fault 36")
    for _ in range(ROUNDS):
        eventually(lambda: in_order(demo), 120, 0.3)
        eventually(lambda: len(live(demo)) >= 100, 60, 0.3)
        before = max(record.tick_ts for record in live(demo))
        with mounted.full(disk):
            eventually(lambda: "is full" in component(demo, TELLS[disk]).message, 30, 0.2)
            say(f"{disk}: {component(demo, TELLS[disk]).message[:200]}")
            threading.Event().wait(FULL_S)
        back = Recovery()
        figures.add(disk, back.made(demo))
        assert_no_longer_said(demo, TELLS[disk], "is full")
        assert_none_skipped(demo, before)
    figures.tell()
    assert_exact(demo)
