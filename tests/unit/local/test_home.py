"""Recognition of a home; nothing else is removed."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import pytest

from cryptoviz.errors import SettingsError
from cryptoviz.local.home import MARKER, claim, foreign_reason, mark_new, remove_data
from cryptoviz.log import configure_logging
from cryptoviz.settings import load_settings
from cryptoviz.telemetry.log_files import log_to_file


def fill(home: Path, *names: str) -> None:
    for name in names:
        (home / name).mkdir(parents=True)
        (home / name / "data").write_text("x")


def test_a_new_home_is_marked_and_removed_whole(tmp_path: Path) -> None:
    home = tmp_path / "a" / "home"
    claim(home)
    claim(home)
    assert home.stat().st_mode & 0o777 == 0o700
    fill(home, "kafka", "minio", "run", "logs")
    (home / "control.token.4711.tmp").write_text("cut off")
    assert foreign_reason(home) == ""
    removed = remove_data(home)
    assert removed.entries == ("control.token.4711.tmp", "kafka", "logs", "minio", "run")
    assert (removed.left, removed.links) == ((), ())
    assert not home.exists()
    assert home.parent.is_dir()


def test_what_no_pipeline_made_is_left_and_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    fill(home, "photos")
    (home / "thesis.tex").write_text("years")
    claim(home)
    fill(home, "kafka", "kafka-2", "kafka.tmp.d")
    removed = remove_data(home)
    assert removed.entries == ("kafka",)
    assert removed.left == ("kafka-2", "kafka.tmp.d", "photos", "thesis.tex")
    assert (home / "thesis.tex").read_text() == "years"
    assert not (home / MARKER).exists()


def test_a_home_whose_components_started_before_any_command_is_one(tmp_path: Path) -> None:
    """As on a cluster, where `python -m control` starts it."""
    home = tmp_path / "home"
    log_to_file(load_settings(home=home), "controller")
    try:
        claim(home)
        assert foreign_reason(home) == ""
    finally:
        log_to_file(load_settings(home=tmp_path / "another"), "controller")
        configure_logging()


def test_a_folder_with_such_entries_is_not_marked_by_components(tmp_path: Path) -> None:
    fill(tmp_path, "kafka")
    mark_new(tmp_path)
    assert foreign_reason(tmp_path) == "no pipeline was started there"


@pytest.mark.parametrize("name", ["kafka", "control", "logs", "run", "credentials.json"])
def test_a_folder_that_has_such_an_entry_of_its_own_is_no_home(tmp_path: Path, name: str) -> None:
    fill(tmp_path, name)
    with pytest.raises(SettingsError, match="CRYPTOVIZ_HOME") as refused:
        claim(tmp_path)
    assert name in str(refused.value)
    assert foreign_reason(tmp_path) == "no pipeline was started there"
    assert not (tmp_path / MARKER).exists()


@pytest.mark.parametrize("mode", [0o755, 0o711])
def test_a_refused_folder_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    fill(tmp_path, "logs")
    tmp_path.chmod(mode)
    with pytest.raises(SettingsError):
        claim(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == mode


def test_the_root_and_home_folders_are_refused_whatever_they_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "users" / "me"
    own.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(own))
    (tmp_path / "link").symlink_to(own)
    for folder in (own, own.parent):
        (folder / MARKER).write_text("a marker does not help")
    of_passwd = Path(pwd.getpwuid(os.getuid()).pw_dir)
    for folder in (Path("/"), own, own.parent, tmp_path / "link", own / "x" / "..", of_passwd):
        assert foreign_reason(folder) != ""
        with pytest.raises(SettingsError):
            claim(folder)


def test_the_working_directory_is_refused_unless_it_is_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert foreign_reason(Path()) == "no pipeline was started there"
    claim(Path())
    assert foreign_reason(Path()) == ""


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    home, disk, settings = tmp_path / "home", tmp_path / "disk", tmp_path / "settings"
    fill(disk, "bucket")
    fill(settings, "other")
    claim(home)
    (home / "minio").symlink_to(disk)
    fill(home, "run")
    (home / "run" / "inner").symlink_to(settings)
    removed = remove_data(home)
    assert removed.links == (("minio", str(disk)),)
    assert (disk / "bucket" / "data").read_text() == "x"
    assert (settings / "other" / "data").read_text() == "x"
    assert not home.exists()


def test_a_home_that_is_a_link_to_one_is_emptied(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    home = tmp_path / "home"
    home.symlink_to(place)
    claim(home)
    fill(home, "kafka")
    (place / "mine").write_text("x")
    assert foreign_reason(home) == ""
    assert remove_data(home).left == ("mine",)
    assert home.is_symlink()


def test_a_marker_that_is_a_link_is_none(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("x")
    home = tmp_path / "home"
    home.mkdir()
    (home / MARKER).symlink_to(tmp_path / "elsewhere")
    assert foreign_reason(home) != ""
    claim(home)
    assert (tmp_path / "elsewhere").read_text() == "x"
    assert foreign_reason(home) == ""


def test_a_home_of_an_earlier_version_is_known_by_its_settings(tmp_path: Path) -> None:
    home = tmp_path / "home"
    fill(home, "run", "kafka")
    kept = {"home": str(home), "kafka": {}, "s3": {}, "ray": {}, "control": {}}
    (home / "run" / "settings.json").write_text(json.dumps(kept))
    assert foreign_reason(home) == ""
    claim(home)
    assert (home / MARKER).is_file()
    of_a_cluster = tmp_path / "cluster"
    fill(of_a_cluster, "control", "kafka")
    (of_a_cluster / "control.token").write_text("x")
    assert foreign_reason(of_a_cluster) != ""
    (of_a_cluster / "control.token").chmod(0o600)
    assert foreign_reason(of_a_cluster) == ""
    wrongs: tuple[object, ...] = (kept | {"home": str(tmp_path)}, {"home": str(home)}, [], "x")
    for wrong in wrongs:
        other = tmp_path / "other"
        (other / "run").mkdir(parents=True, exist_ok=True)
        (other / "run" / "settings.json").write_text(json.dumps(wrong))
        assert foreign_reason(other) != ""
