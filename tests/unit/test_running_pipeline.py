"""A command of a running pipeline reads no settings if the pipeline was started with the same; otherwise it reads and refuses them as any command."""

from __future__ import annotations

import ast
import asyncio
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

from cryptoviz.cluster_record import Access, ClusterRecord, read_record, record_file, settings_file, write_record
from cryptoviz.errors import SettingsError
from cryptoviz.local.process_identity import ProcessIdentity
from cryptoviz.masking import MASK
from cryptoviz.running_pipeline import _is_input, inputs_of_start, running_access, running_settings, settings_inputs
from cryptoviz.settings import SEED_NAMES, Settings, claim_home, dump_settings_file, load_settings
from cryptoviz.settings.names import check_names, known_names
from cryptoviz.settings.network import SHELL_NAMES
from tests.support.control_fakes import small_table
from tests.support.control_server import Serving, serving, serving_settings
from tests.support.intruder import NOBODY, give_away
from tests.support.ports import free_port

READ = ["cryptoviz.providers", "cryptoviz.settings", "pydantic", "pydantic_settings"]
COMMAND = """
import atexit, sys
atexit.register(lambda: print(sorted(set({read}) & set(sys.modules)), file=sys.stderr))
sys.argv = ["cryptoviz", *{arguments}]
from cryptoviz.cli.main import main
main()
"""


CERTIFICATE = Path(__file__).parents[1] / "data" / "tls" / "good.pem"


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
    """As `command`."""
    return command("status", "--json", **environment)


def command(*arguments: str, **environment: str) -> tuple[int, str, list[str]]:
    """Exit code, output and error of a command, and which of `READ` were imported."""
    code = COMMAND.format(read=READ, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, timeout=300, check=False)
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


def test_a_start_that_takes_longer_than_the_wait_is_named(server: Serving) -> None:
    server.runtime.start_gates["engine"] = asyncio.Event()
    assert command("start", "engine", "--wait", "0.2")[:2] == (1, "error: engine is STARTING after 0.2 s")


@pytest.mark.parametrize("name", ["CRYPTOVIZ_HOME", "XDG_DATA_HOME"])
def test_a_home_in_a_cycle_of_links_is_refused(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRYPTOVIZ_HOME")
    home.symlink_to(home)
    monkeypatch.setenv(name, str(home))
    with pytest.raises(SettingsError, match="form a cycle"):
        running_access()


def test_a_home_by_the_link_of_another_user_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.symlink_to(home.with_name("real"))
    started(load_settings())
    assert running_access().home == str(home.with_name("real"))
    give_away(home, monkeypatch)
    with pytest.raises(SettingsError, match="is a link that belongs to user"):
        running_access()


def test_of_two_spellings_of_a_name_the_last_has_effect(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_settings(control={"port": 42_001})
    monkeypatch.setenv("cryptoviz_home", str(home.with_name("other")))
    monkeypatch.delenv("CRYPTOVIZ_HOME")
    monkeypatch.setenv("CRYPTOVIZ_HOME", str(home))
    started(first)
    assert running_access().control_address == "127.0.0.1:42001"
    monkeypatch.delenv("cryptoviz_home")
    monkeypatch.setenv("cryptoviz_home", str(home.with_name("other")))
    assert running_access() == Access.of(load_settings())
    assert running_access().home == str(home.with_name("other"))


def test_a_dotenv_file_of_a_group_of_others_is_another_input(home: Path) -> None:
    del home
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to a group")
    Path(".env").write_text("CRYPTOVIZ_LOG_LEVEL=DEBUG\n")
    Path(".env").chmod(0o664)
    before = settings_inputs()
    os.chown(".env", -1, NOBODY)
    with pytest.raises(SettingsError, match="may be changed by group"):
        load_settings()
    assert settings_inputs() != before


def test_a_dotenv_file_of_others_is_refused_without_reading_it(home: Path) -> None:
    del home
    with Path(".env").open("wb") as file:
        file.truncate(1 << 40)  # 1 TiB: the memory of no test machine
    Path(".env").chmod(0o666)
    with pytest.raises(SettingsError, match="may be changed by every user"):
        inputs_of_start("live")


def test_a_dotenv_file_that_is_a_named_pipe_is_refused_without_reading_it(home: Path) -> None:
    started(load_settings())
    assert running_access().home == str(home)
    os.mkfifo(".env")
    with subprocess.Popen(["sh", "-c", "echo CRYPTOVIZ_LOG_LEVEL=DEBUG > .env"]) as writer:
        try:
            with pytest.raises(SettingsError, match="is a named pipe"):
                load_settings()
            with pytest.raises(SettingsError, match="is a named pipe"):
                running_access()
        finally:
            writer.kill()


@pytest.mark.parametrize("lost", ["TLS_CERT", "TLS_KEY"])
def test_a_file_of_the_settings_that_is_lost_is_refused_also_of_a_running_pipeline(lost: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: home.with_name(f"{name}.pem") for name in ("TLS_CERT", "TLS_KEY")}
    for name, path in files.items():
        path.write_bytes(CERTIFICATE.read_bytes())  # with its key
        monkeypatch.setenv(f"CRYPTOVIZ_CONTROL__{name}", str(path))
    started(load_settings())
    assert running_access().tls_cert == str(files["TLS_CERT"])
    files[lost].unlink()
    with pytest.raises(SettingsError, match=f"CRYPTOVIZ_CONTROL__{lost} is .* does not exist"):
        running_access()


def test_passwords_that_others_may_read_are_refused_also_of_a_running_pipeline(home: Path) -> None:
    started(claim_home(load_settings()))
    assert running_access().home == str(home)
    (home / "credentials.json").chmod(0o644)
    with pytest.raises(SettingsError, match=f"others may read {home / 'credentials.json'}"):
        running_access()


def test_without_the_settings_of_the_start_the_present_ones_hold(home: Path) -> None:
    started(load_settings(control={"port": 42_001}))
    assert running_access().control_address == "127.0.0.1:42001"
    (home / "run" / "settings.json").unlink()
    assert running_access() == Access.of(load_settings())


def test_a_demo_with_settings_that_are_invalid_for_live_is_not_reached_without_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert inputs_of_start("demo") == (load_settings("demo"), settings_inputs())
    monkeypatch.setenv("CRYPTOVIZ_PROVIDERS__COINMARKETCAP__PLAN", "none")
    settings, inputs = inputs_of_start("demo")
    assert (settings.home, inputs) == (home, "")
    started(settings, inputs=inputs)
    with pytest.raises(SettingsError, match="CRYPTOVIZ_PROVIDERS__COINMARKETCAP__PLAN is 'none'"):
        running_access()


@pytest.mark.parametrize("more", [{}, {"CRYPTOVIZ_LOG_LEVEL": "DEBUG"}])
def test_an_error_of_a_demo_shows_no_key_for_live(more: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service does not know the key; the command knows it only from its settings."""
    monkeypatch.setenv("CRYPTOVIZ_PROVIDERS__COINMARKETCAP__API_KEY", "b54bcf4d1bca4e8e9a2422ff2c3d462c")
    settings = load_settings("demo", home=home, control={"port": free_port()})
    with serving_settings(settings, small_table(), interval_ms=20):
        started(settings)
        code, output, _ = command("logs", "b54bcf4d1bca4e8e9a2422ff2c3d462c", **more)
    assert (code, output.count(MASK)) == (1, 1), output
    assert "b54bcf4d" not in output


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


@pytest.fixture
def two_homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Settings]:
    """A live pipeline and a demo, each in the home of its profile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("CRYPTOVIZ_HOME", raising=False)
    homes = {"live": claim_home(load_settings("live")), "demo": claim_home(load_settings("demo"))}
    for settings in homes.values():
        # The value of a joined cluster, which the environment of later commands does not have.
        dump_settings_file(settings.model_copy(update={"ray": settings.ray.model_copy(update={"address": "auto"})}), settings_file(settings))
    return homes


def test_a_pipeline_in_a_joined_cluster_is_found_until_it_is_stopped(two_homes: dict[str, Settings]) -> None:
    demo = two_homes["demo"]
    assert running_settings().profile == "live"
    write_record(demo.home, ClusterRecord.of_joined("auto", Access.of(demo), settings_inputs()))
    assert read_record(demo.home) is None
    assert (running_settings().profile, running_settings().ray.address) == ("demo", "auto")
    assert running_access() == Access.of(demo)
    record_file(demo.home).unlink()
    assert running_settings().profile == "live"


def test_a_running_pipeline_comes_before_one_in_a_joined_cluster(two_homes: dict[str, Settings]) -> None:
    live, demo = two_homes["live"], two_homes["demo"]
    write_record(live.home, ClusterRecord.of_joined("auto", Access.of(live), settings_inputs()))
    assert running_access() == Access.of(live)
    write_record(demo.home, ClusterRecord(ProcessIdentity.own(), "127.0.0.1:6380", Access.of(demo), settings_inputs()))
    assert running_settings().profile == "demo"
    assert running_access() == Access.of(demo)
