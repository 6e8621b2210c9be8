"""The folder of the Ray cluster: private, new at each start, and never where another user can write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cryptoviz.engines import ray_folder as module
from cryptoviz.engines.ray_folder import folder_problem, is_private, make_ray_folder, ray_folder, ray_temp_dir, remove_ray_folder, scratch_dir
from cryptoviz.errors import PreflightError
from cryptoviz.settings import Settings, load_settings

_LONGEST_SOCKET = "/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    monkeypatch.setattr(module, "RAY_FOLDERS", shared)
    monkeypatch.setattr(module.folder_problem, "__defaults__", (shared,))
    return shared


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home")


def test_it_is_private_whatever_the_umask(parent: Path, settings: Settings) -> None:
    before = os.umask(0)
    try:
        folder = make_ray_folder(settings)
    finally:
        os.umask(before)
    assert is_private(folder)
    assert is_private(scratch_dir(folder))
    assert ray_folder(settings) == folder


def test_each_start_has_a_new_name_and_removes_the_last(parent: Path, settings: Settings) -> None:
    first = make_ray_folder(settings)
    (first / "r").mkdir(mode=0o777)
    second = make_ray_folder(settings)
    assert first != second
    assert list(parent.iterdir()) == [second]
    remove_ray_folder(settings)
    assert list(parent.iterdir()) == []
    assert ray_folder(settings) is None


def test_its_sockets_are_short_enough() -> None:
    assert len(f"{ray_temp_dir(module.RAY_FOLDERS / 'cv-abcdefgh')}{_LONGEST_SOCKET}") <= 107


def test_a_folder_that_became_a_link_or_was_opened_is_not_used_and_not_removed(parent: Path, settings: Settings, tmp_path: Path) -> None:
    folder = make_ray_folder(settings)
    folder.chmod(0o755)
    assert ray_folder(settings) is None
    scratch_dir(folder).rmdir()
    folder.rmdir()
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o700)
    (precious / "file").touch()
    folder.symlink_to(precious)
    assert ray_folder(settings) is None
    remove_ray_folder(settings)
    assert (precious / "file").exists()


@pytest.mark.parametrize("recorded", ["", "/", "/etc", "relative", "cv-abc", "\0"])
def test_a_record_that_names_something_else_is_none(parent: Path, settings: Settings, recorded: str) -> None:
    settings.run_dir.mkdir(parents=True)
    (settings.run_dir / "ray-folder").write_text(recorded)
    assert ray_folder(settings) is None
    remove_ray_folder(settings)


@pytest.mark.parametrize("mode", [0o777, 0o773, 0o770])
def test_a_shared_folder_without_the_sticky_bit_is_refused(parent: Path, settings: Settings, mode: int) -> None:
    parent.chmod(mode)
    assert "sticky bit" in folder_problem(parent)
    with pytest.raises(PreflightError, match="sticky bit"):
        make_ray_folder(settings)
    assert list(parent.iterdir()) == []


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    problem = folder_problem(tmp_path)
    # A folder of root that all users share, like /tmp.
    assert problem == "" if owner == 0 else f"belongs to user {owner}" in problem
    assert not is_private(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert folder_problem(tmp_path / "none") == f"{tmp_path / 'none'}: No such file or directory"
