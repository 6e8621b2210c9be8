"""Commands that follow a running pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cryptoviz.cli.commands import control
from cryptoviz.cli.commands.control import _until_stopped
from cryptoviz.cli.main import app
from cryptoviz.cluster_record import Access, ClusterRecord, mark_stop, record_file, write_record
from cryptoviz.errors import EngineUnavailable
from cryptoviz.local.process_identity import ProcessIdentity
from cryptoviz.running_pipeline import retry_while_running
from cryptoviz.settings import load_settings
from cryptoviz.telemetry.log_files import log_path
from tests.support.control_server import serving


def lost() -> Iterator[str]:
    yield "a line"
    raise EngineUnavailable("the control service does not answer", engine="control", address="127.0.0.1:1")


def test_as_many_lines_of_a_log_are_printed_as_requested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path) as served:
        monkeypatch.setattr(control, "running_access", lambda: Access.of(served.settings))
        path = log_path(served.settings, "page")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("one\ntwo\nthree\n")
        assert CliRunner().invoke(app, ["logs", "page", "--lines", "2"]).output == "two\nthree\n"
        assert CliRunner().invoke(app, ["logs", "page"]).output == "one\ntwo\nthree\n"


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
