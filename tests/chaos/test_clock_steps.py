"""The wall clock steps while processes run: no process looks dead, no lease free, no lock stale.

The machine's clock is not changed. A separate process sees a stepped clock: its `time.time`, and the boot time, which moves with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import orjson
import pytest

from cryptoviz.cluster_record import read_record
from cryptoviz.local.home import claim
from cryptoviz.local.home_lock import HomeLock
from cryptoviz.local.process_identity import ProcessIdentity
from cryptoviz.settings import Settings
from spark_jobs.tables.lease import lease_of
from tests.integration.test_engines import own_settings
from tests.support.engines import engines

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

STEPS_S = (-3600, -2, 2, 3600, 365 * 86_400)

# Result of a second command or job about the running processes, under a stepped clock.
STEPPED = """
import json, sys, time
import psutil, psutil._pslinux
step_s = float(sys.argv[2])
real_time, real_ns, real_boot = time.time, time.time_ns, psutil.boot_time
time.time = lambda: real_time() + step_s
time.time_ns = lambda: real_ns() + int(step_s * 1e9)
psutil.boot_time = psutil._pslinux.boot_time = lambda: real_boot() + step_s

from pathlib import Path
from cryptoviz.cluster_record import read_record
from cryptoviz.errors import PreflightError
from cryptoviz.local.home_lock import HomeLock
from cryptoviz.settings import load_settings_file
from spark_jobs.tables.lease import Holder, LeaseHeld, lease_of, process_is_dead

settings = load_settings_file(Path(sys.argv[1]))
said = {"cluster": read_record(settings.home) is not None}
try:
    HomeLock(settings.home, "another").acquire()
    said["lock"] = "taken"
except PreflightError:
    said["lock"] = "refused"
try:
    lease_of(settings, "lake", "pipeline", "run2").acquire()
    said["lease"] = "taken"
except LeaseHeld:
    said["lease"] = "refused"
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    from cryptoviz.settings import dump_settings_file

    settings = own_settings(tmp_path_factory.mktemp("clock") / "home")
    claim(settings.home)
    with engines(settings, "object-store"):
        dump_settings_file(settings, settings.run_dir / "settings.json")
        yield settings


@pytest.mark.parametrize("step_s", STEPS_S)
def test_who_lives_is_not_taken_for_dead(settings: Settings, step_s: int) -> None:
    own = {"process": asdict(ProcessIdentity.own()), "address": "127.0.0.1:1"}
    (settings.run_dir / "cluster.json").write_bytes(orjson.dumps(own))
    assert read_record(settings.home) is not None
    with HomeLock(settings.home, "cryptoviz demo"), lease_of(settings, "lake", "pipeline", "run1") as lease:
        command = [sys.executable, "-c", STEPPED, str(settings.run_dir / "settings.json"), str(step_s)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[2])
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == {"cluster": True, "lock": "refused", "lease": "refused"}
        lease.renew()
        assert lease.lost == ""
