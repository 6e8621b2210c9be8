"""A home that another user could have changed is neither used nor trusted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from cryptoviz.cli import cluster
from cryptoviz.cli.main import app
from cryptoviz.errors import SettingsError
from cryptoviz.local.home import LOCK, MARKER, claim, foreign_reason
from cryptoviz.local.private import ensure_token
from cryptoviz.local.process_identity import ProcessIdentity
from cryptoviz.rpc.pipeline_status import pipeline_id
from cryptoviz.settings import CLUSTER_VARIABLE, claim_home, load_settings
from spark_jobs.streaming.job import lake_id
from tests.support.intruder import give_away
from tests.support.waiting import eventually

TOKEN = "ab" * 32


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove all settings of the developer's environment; there is no `.env`."""
    for name in list(os.environ):
        if name.startswith("CRYPTOVIZ_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A used home of this user."""
    home = tmp_path / "home"
    claim_home(load_settings(home=home))
    for name in ("run", "logs", "control"):
        (home / name).mkdir()
    for name in ("ray.token", "control.token"):
        (home / name).write_text(TOKEN)
        (home / name).chmod(0o600)
    (home / LOCK).touch()
    claim(home)
    return home


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process of this user outside of any pipeline."""
    with subprocess.Popen(["sleep", "120"]) as process:
        yield process
        process.kill()


def refusal(home: Path) -> str:
    with pytest.raises(SettingsError, match="CRYPTOVIZ_HOME") as refused:
        claim(home)
    assert foreign_reason(home) != ""
    return str(refused.value)


@pytest.mark.parametrize("name", [MARKER, LOCK, "ray.token", "control.token", "credentials.json", "run", "logs", "control"])
def test_an_entry_of_another_user_is_refused_by_name(home: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    give_away(home / name, monkeypatch)
    said = refusal(home)
    assert "belongs to user" in said
    assert os.geteuid() != 0 or str(home / name) in said


@pytest.mark.parametrize("name", ["run/cluster.json", "control/desired.json", "kafka/data/meta.properties"])
def test_so_is_one_deeper(home: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    (home / name).write_text("{}")
    claim(home)
    give_away(home / name, monkeypatch)
    assert "belongs to user" in refusal(home)


@pytest.mark.parametrize("name", [MARKER, "ray.token", "run", "logs", "run/settings.json"])
def test_an_entry_that_everybody_may_change_is_refused_by_name(home: Path, name: str) -> None:
    (home / "run" / "settings.json").write_text("{}")
    (home / name).chmod(0o777)
    said = refusal(home)
    assert str(home / name) in said
    assert "chmod -R go-w" in said


@pytest.mark.parametrize("name", ["logs", "run", "control", "run/inner", "ray.token"])
def test_links_lead_nowhere_outside(home: Path, name: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    if (home / name).is_dir():
        (home / name).rmdir()
    (home / name).unlink(missing_ok=True)
    (home / name).symlink_to(tmp_path / "elsewhere")
    said = refusal(home)
    assert str(home / name) in said
    assert "link" in said


def test_an_engines_data_may_lie_on_another_disk_of_the_same_user(home: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (home / "minio").symlink_to(disk)
    claim(home)
    disk.chmod(0o777)
    assert str(disk) in refusal(home)


def test_an_open_home_that_holds_something_is_not_closed_in_silence(home: Path) -> None:
    home.chmod(0o777)
    assert "may be changed by every user" in refusal(home)
    assert home.stat().st_mode & 0o777 == 0o777


def test_an_open_folder_that_is_empty_becomes_a_closed_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    claim(home)
    assert home.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("mode", "safe"), [(0o777, False), (0o1777, True)])
def test_a_home_in_a_shared_folder_needs_its_sticky_bit(tmp_path: Path, mode: int, safe: bool) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    if safe:
        claim(shared / "home")
        claim(shared / "home")
    else:
        assert str(shared) in refusal(shared / "home")
        assert list(shared.iterdir()) == []


def test_a_home_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        settings = claim_home(load_settings(home=tmp_path / "new" / "home"))
        ensure_token(settings.token_file, "CRYPTOVIZ_HOME")
        cluster._authentication(settings)
        claim_home(settings)
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "new", settings.home)] == [0o700, 0o700]
    assert {path.stat().st_mode & 0o777 for path in settings.home.iterdir()} == {0o600}


def test_the_token_that_a_clusters_launcher_leaves_is_a_beginning(tmp_path: Path) -> None:
    """As copied by `cluster.yaml` before the first run."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "ray.token").write_text(TOKEN)
    (home / "ray.token").chmod(0o644)
    with pytest.raises(SettingsError, match="others may read"):
        claim(home)
    (home / "ray.token").chmod(0o600)
    claim(home)
    assert (home / MARKER).is_file()


@pytest.mark.parametrize("command", [["down"], ["status"], ["logs", "redis"], ["reset", "--yes"], ["config"], ["up", "--detach"], ["tokens", "list"]])
def test_no_command_believes_a_home_of_another_user(
    command: list[str], home: Path, bystander: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record names a process of this user, which `down` would end."""
    process = eventually(lambda: ProcessIdentity.of(bystander.pid))
    (home / "run" / "cluster.json").write_bytes(orjson.dumps({"process": asdict(process), "address": "127.0.0.1:1"}))
    (home / "credentials.json").unlink()
    monkeypatch.setenv("CRYPTOVIZ_HOME", str(home))
    give_away(home, monkeypatch)
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, SettingsError)
    assert "belongs to user" in str(result.exception)
    assert bystander.poll() is None
    assert (home / "run" / "cluster.json").exists()


def test_one_home_under_two_names_is_one_home(tmp_path: Path, home: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(home)
    one, other = load_settings(home=home), load_settings(home=link)
    assert one == other
    assert (lake_id(one), pipeline_id(one)) == (lake_id(other), pipeline_id(other))
    with subprocess.Popen(["sleep", "60"], env={CLUSTER_VARIABLE: str(other.home)}) as left:
        marked = f"{CLUSTER_VARIABLE}={home}".encode()
        eventually(lambda: marked in Path(f"/proc/{left.pid}/environ").read_bytes())
        assert cluster.end_leftovers(one) == 1


def test_a_home_named_by_another_users_link_is_refused(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "link"
    link.symlink_to(home)
    give_away(link, monkeypatch)
    with pytest.raises(SettingsError, match=r"CRYPTOVIZ_HOME.*link that belongs to user"):
        load_settings(home=link)


def test_the_demos_home_lies_beside_the_default_ones_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the live home's is a link to another disk."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (tmp_path / "disk").mkdir()
    (tmp_path / "cryptoviz").symlink_to(tmp_path / "disk")
    assert load_settings().home == tmp_path / "disk"
    assert load_settings("demo").home == tmp_path / "cryptoviz-demo"


@pytest.mark.parametrize(("mode", "safe"), [(0o600, True), (0o644, True), (0o664, True), (0o666, False)])
def test_a_dotenv_that_everybody_may_change_is_refused(tmp_path: Path, mode: int, safe: bool) -> None:
    path = tmp_path / ".env"
    path.write_text("CRYPTOVIZ_REDIS__PORT=7777\n")
    os.chown(path, -1, os.getgid())
    path.chmod(mode)
    if safe:
        assert load_settings().redis.port == 7777
        return
    with pytest.raises(SettingsError, match=r"\.env may be changed by every user"):
        load_settings()


@pytest.mark.parametrize("by_link", [False, True])
def test_a_dotenv_of_another_user_is_refused(tmp_path: Path, by_link: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".env"
    written = tmp_path / "written" if by_link else path
    written.write_text("CRYPTOVIZ_REDIS__PORT=7777\n")
    if by_link:
        path.symlink_to(written)
        assert load_settings().redis.port == 7777
    give_away(path, monkeypatch)
    with pytest.raises(SettingsError, match=r"\.env belongs to user .* ignored"):
        load_settings()
