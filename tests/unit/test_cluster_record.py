"""Whether the cluster of an earlier command still runs, independent of clock steps."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path

import orjson
import psutil
import pytest

from cryptoviz.cluster_record import Access, ClusterRecord, mark_stop, read_record, record_file, was_stopped, write_record
from cryptoviz.local.process_identity import ProcessIdentity
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


def test_a_stop_is_known_until_the_record_is_removed(settings: Settings) -> None:
    record = ClusterRecord(ProcessIdentity.own(), "127.0.0.1:6380", Access.of(settings), "inputs")
    write_record(settings.home, record)
    assert not was_stopped(settings.home)
    mark_stop(settings.home)
    assert read_record(settings.home) == replace(record, stopping=True)
    write_record(settings.home, replace(record, process=replace(record.process, start_ticks=1), stopping=True))
    assert read_record(settings.home) is None
    assert was_stopped(settings.home)


WRONG_TYPES = {
    "control_address": 5, "token_file": None, "tls_cert": ["x"], "tls_client_key": 7, "tick_s": "1",
    "addresses": [["Dashboard", 1]], "files": [[1, "x"]],
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), WRONG_TYPES.items())
def test_an_access_with_values_of_another_type_is_none(settings: Settings, field: str, value: object) -> None:
    process = ProcessIdentity.own()
    content = {"process": asdict(process), "address": "127.0.0.1:6380", "access": asdict(Access.of(settings)), "inputs": "inputs"}
    settings.run_dir.mkdir()
    record_file(settings.home).write_bytes(orjson.dumps(content))
    assert read_record(settings.home) == ClusterRecord(process, "127.0.0.1:6380", Access.of(settings), "inputs")
    content["access"] |= {field: value}  # type: ignore[operator]
    record_file(settings.home).write_bytes(orjson.dumps(content))
    assert read_record(settings.home) == ClusterRecord(process, "127.0.0.1:6380", None, "inputs")


def test_only_the_owner_may_read_the_record_whatever_the_umask(settings: Settings) -> None:
    """It has a digest of keys, which a stranger could guess by trial."""
    before = os.umask(0)
    try:
        write_record(settings.home, ClusterRecord(ProcessIdentity.own(), "127.0.0.1:6380"))
        mark_stop(settings.home)
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (record_file(settings.home), settings.run_dir)] == [0o600, 0o700]
    assert was_stopped(settings.home)


def test_a_cluster_that_ended_by_itself_was_not_stopped(settings: Settings) -> None:
    mark_stop(settings.home)
    assert not was_stopped(settings.home)
    keep(settings, replace(ProcessIdentity.own(), start_ticks=1))
    mark_stop(settings.home)
    assert not was_stopped(settings.home)


@pytest.mark.parametrize("access", [None, [], {}, {"home": "x"}, {"addresses": 3}, {"addresses": [["one"]]}])
def test_a_record_of_another_version_names_its_process(settings: Settings, access: object) -> None:
    process = ProcessIdentity.own()
    content = {"process": asdict(process), "address": "127.0.0.1:6380", "access": access, "more": 1}
    settings.run_dir.mkdir()
    (settings.run_dir / "cluster.json").write_bytes(orjson.dumps(content))
    assert read_record(settings.home) == ClusterRecord(process, "127.0.0.1:6380")


def test_the_token_that_is_shown_is_the_one_of_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    home = tmp_path / "home"
    own, joined = load_settings(home=home), load_settings(home=home, ray={"address": "auto"})

    def shown(settings: Settings) -> str:
        return dict(Access.of(settings).addresses)["Ray dashboard"].partition("token: ")[2].rstrip(")")

    assert shown(own) == f"{home}/ray.token"
    assert shown(joined) == f"{tmp_path}/user/.ray/auth_token"
    home.mkdir()
    (home / "ray.token").write_text("of the joined cluster")
    assert shown(joined) == f"{home}/ray.token"
