"""A command of a running pipeline reads no settings if the pipeline was started with the same; otherwise it reads and refuses them as any command."""

from __future__ import annotations

import ast
import os
import string
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cryptoviz.cli.cluster_record import Access, ClusterRecord, record_file, write_record
from cryptoviz.cli.running_pipeline import _is_input, running_access, settings_inputs
from cryptoviz.errors import SettingsError
from cryptoviz.process_identity import ProcessIdentity
from cryptoviz.settings import SEED_NAMES, Settings, dump_settings_file, load_settings
from cryptoviz.settings.names import check_names, known_names
from cryptoviz.settings.network import SHELL_NAMES
from tests.support.control_server import Serving, serving

READ = ["cryptoviz.providers", "cryptoviz.settings", "pydantic", "pydantic_settings"]
STATUS = f"""
import atexit, sys
atexit.register(lambda: print(sorted(set({READ}) & set(sys.modules)), file=sys.stderr))
sys.argv = ["cryptoviz", "status", "--json"]
from cryptoviz.cli.main import main
main()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the environment and in a working directory without `.env`."""
    home, folder = tmp_path / "home", tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CRYPTOVIZ_HOME", str(home))
    return home


@pytest.fixture
def server(home: Path) -> Iterator[Serving]:
    with serving(home) as here:
        started(here.settings)
        yield here


def started(settings: Settings, **changes: object) -> ClusterRecord:
    """As a start with the present environment leaves it; this process is the cluster."""
    settings.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    dump_settings_file(settings, settings.run_dir / "settings.json")
    record = ClusterRecord(ProcessIdentity.own(), "127.0.0.1:1", Access.of(settings), settings_inputs())
    record = replace(record, **changes)  # type: ignore[arg-type]
    write_record(settings.home, record)
    return record


def status(**environment: str) -> tuple[int, str, list[str]]:
    """Exit code, output and error, and which of `READ` were imported."""
    done = subprocess.run([sys.executable, "-c", STATUS], env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False)
    *errors, modules = done.stderr.splitlines()
    return done.returncode, done.stdout + "\n".join(errors), ast.literal_eval(modules)


@pytest.mark.usefixtures("server")
def test_status_reads_no_settings_if_the_pipeline_was_started_with_the_same() -> None:
    code, output, read = status()
    assert (code, read) == (0, []), output
    assert '"name":"engine"' in output


@pytest.mark.usefixtures("server")
def test_status_reads_settings_that_the_start_did_not_have() -> None:
    code, output, read = status(CRYPTOVIZ_COLLECT__TICK_S="3")
    assert (code, read) == (0, READ), output
    assert '"name":"engine"' in output


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("name", "value"), [("CRYPTOVIZ_COLLECT__TICK_S", "often"), ("CRYPTOVIZ_HOMES", "x"), ("CRYPTVIZ_HOME", "x"), ("cryptoviz_log_level", "LOUD")]
)
def test_status_refuses_a_wrong_setting_also_of_a_running_pipeline(name: str, value: str) -> None:
    code, output, _ = status(**{name: value})
    assert code == 1
    assert name.upper() in output.upper()


@pytest.mark.usefixtures("server")
def test_status_refuses_a_wrong_setting_in_a_dotenv_file_that_is_new() -> None:
    Path(".env").write_text("CRYPTOVIZ_COLLECT__TICK_S=often\n")
    Path(".env").chmod(0o600)
    code, output, _ = status()
    assert code == 1
    assert f"line 1 of {Path('.env').absolute()}" in output


def test_another_owner_or_mode_of_the_dotenv_file_is_another_input(home: Path) -> None:
    del home
    Path(".env").write_text("CRYPTOVIZ_LOG_LEVEL=DEBUG\n")
    Path(".env").chmod(0o600)
    before = settings_inputs()
    Path(".env").chmod(0o666)
    assert settings_inputs() != before


def test_access_from_the_record_is_that_of_the_settings(home: Path) -> None:
    settings = load_settings()
    started(settings)
    recorded = running_access()
    started(settings, inputs="")
    assert recorded == running_access() == Access.of(settings)
    assert home.name in recorded.token_file


@pytest.mark.parametrize("changes", [{"inputs": "of another shell"}, {"access": None}])
def test_a_live_pipeline_of_other_inputs_is_not_passed_over_for_a_demo(
    changes: dict[str, object], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del home
    monkeypatch.delenv("CRYPTOVIZ_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "data").mkdir(mode=0o700)
    live, demo = load_settings("live", control={"port": 42_001}), load_settings("demo")
    started(demo)
    assert running_access() == Access.of(demo)
    started(live, **changes)
    assert running_access().control_address == "127.0.0.1:42001"


def test_a_record_whose_process_has_ended_gives_no_access(home: Path) -> None:
    settings = load_settings(control={"port": 42_001})
    started(settings, process=replace(ProcessIdentity.own(), start_ticks=1))
    assert running_access() == Access.of(load_settings())
    assert record_file(home).exists()


def test_every_name_of_a_setting_is_an_input() -> None:
    names = {*known_names(Settings), *SEED_NAMES, *SHELL_NAMES, "CRYPTO_LIST", "HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"}
    assert {name for name in names if not _is_input(name.upper())} == set()


EDITS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 1), st.text(string.ascii_letters + "_", max_size=2)), min_size=1, max_size=3)
"""Places, how many letters are left out there, and what is written instead."""


@given(st.sampled_from(sorted(known_names(Settings))), EDITS)
@example("CRYPTOVIZ_HOME", [(0, 1, ""), (6, 1, "")])  # RYPTOVZ_HOME
def test_every_name_that_is_refused_as_a_misspelt_setting_is_an_input(name: str, edits: list[tuple[int, int, str]]) -> None:
    for place, out, written in edits:
        name = name[:place] + written + name[place + out :]
    try:
        check_names(Settings, [name], [])
    except SettingsError:
        assert _is_input(name.upper())
