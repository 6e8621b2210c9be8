"""Whether the cluster of an earlier command still runs, independent of clock steps."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import orjson
import psutil
import pytest

from cryptoviz.cli.cluster_record import read_record
from cryptoviz.process_identity import ProcessIdentity
from cryptoviz.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path)


def keep(settings: Settings, process: ProcessIdentity) -> None:
    settings.run_dir.mkdir(exist_ok=True)
    (settings.run_dir / "cluster.json").write_bytes(orjson.dumps({"process": asdict(process), "address": "127.0.0.1:6380"}))


@pytest.mark.parametrize("step_s", [-3600, -2, 2, 3600, 365 * 86_400])
def test_a_clock_step_ends_no_cluster(settings: Settings, step_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(settings, ProcessIdentity.own())
    boot_time_s = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot_time_s + step_s)
    record = read_record(settings.home)
    assert record is not None
    assert record.process == ProcessIdentity.own()


def test_a_cluster_whose_process_is_another_now_does_not_run(settings: Settings) -> None:
    keep(settings, replace(ProcessIdentity.own(), start_ticks=1))
    assert read_record(settings.home) is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"pid": 1, "created": 5.0, "address": "a"}', b'{"process": {"pid": 1}, "address": "a"}'])
def test_an_unreadable_record_is_none(settings: Settings, content: bytes) -> None:
    settings.run_dir.mkdir()
    (settings.run_dir / "cluster.json").write_bytes(content)
    assert read_record(settings.home) is None
