"""Commands that follow a running pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptoviz.cli.commands.control import _until_stopped
from cryptoviz.cluster_record import Access, ClusterRecord, mark_stop, record_file, write_record
from cryptoviz.errors import EngineUnavailable
from cryptoviz.process_identity import ProcessIdentity
from cryptoviz.running_pipeline import retry_while_running
from cryptoviz.settings import load_settings


def lost() -> Iterator[str]:
    yield "a line"
    raise EngineUnavailable("the control service does not answer", engine="control", address="127.0.0.1:1")


def test_a_service_that_is_lost_is_an_error_unless_a_command_stops_the_pipeline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    access = Access.of(load_settings(home=tmp_path))
    write_record(tmp_path, ClusterRecord(ProcessIdentity.own(), "127.0.0.1:1", access))
    with pytest.raises(EngineUnavailable, match="does not answer"):
        list(_until_stopped(lost(), access))
    assert capsys.readouterr().err == ""
    mark_stop(tmp_path)
    assert list(_until_stopped(lost(), access)) == ["a line"]
    assert capsys.readouterr().err == "The pipeline was stopped.\n"


def test_a_record_that_is_removed_meanwhile_means_a_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    access = Access.of(load_settings(home=tmp_path))
    write_record(tmp_path, ClusterRecord(ProcessIdentity.own(), "127.0.0.1:1", access))

    def removed() -> Iterator[str]:
        yield "a line"
        record_file(tmp_path).unlink()
        yield from lost()

    assert list(_until_stopped(removed(), access)) == ["a line", "a line"]
    assert capsys.readouterr().err == "The pipeline was stopped.\n"


def test_without_a_record_a_lost_service_is_an_error(tmp_path: Path) -> None:
    """A pipeline on a cluster of its own has no record on this machine."""
    with pytest.raises(EngineUnavailable, match="does not answer"):
        list(_until_stopped(lost(), Access.of(load_settings(home=tmp_path))))


def test_a_controller_is_waited_for_only_while_its_cluster_runs(tmp_path: Path) -> None:
    runs = retry_while_running(tmp_path).only_while
    assert not runs()
    write_record(tmp_path, ClusterRecord(ProcessIdentity.own(), "127.0.0.1:1"))
    assert runs()
    mark_stop(tmp_path)
    assert not runs()
