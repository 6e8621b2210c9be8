"""The process of a round."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cryptoviz.components import Probe
from cryptoviz.log import configure_logging
from cryptoviz.settings import load_settings
from cryptoviz.telemetry.log_files import log_to_file
from spark_jobs.maintenance.actor import MaintenanceActor
from tests.support.waiting import eventually_async

CODE = """
import sys
from spark_jobs.maintenance.__main__ import skip_imports
skip_imports()
import spark_jobs.maintenance.round
print(*sorted({"Crypto", "argon2", "minio", "pandas", "pyarrow"} & sys.modules.keys()))
"""


def test_a_round_imports_neither_pandas_nor_encryption() -> None:
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["minio", "pyarrow"]


async def test_a_round_on_a_full_disk_fails_with_the_reason_and_the_schedule_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("spark_jobs.maintenance.actor.dump_settings_file", full)
    maintenance = MaintenanceActor(load_settings(home=tmp_path))
    await maintenance.start()
    try:
        seen = await eventually_async(lambda: _with_a_round(maintenance))
        assert (seen.running, seen.healthy) == (True, False)
        assert "No space left on device" in seen.message
    finally:
        await maintenance.stop()
        log_to_file(load_settings(home=tmp_path), "another")
        configure_logging()


async def _with_a_round(maintenance: MaintenanceActor) -> Probe:
    seen = await maintenance.probe()
    assert seen.metrics["rounds_total"] or not seen.running
    return seen
