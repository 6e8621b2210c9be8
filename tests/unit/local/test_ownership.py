"""Trust in entries of the file system."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptoviz.local.ownership import canonical, make_private, owner_or_root, parents_fault, path_fault, tree_fault
from tests.support.intruder import NOBODY, give_away

ROOT = Path(__file__).parents[3]


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_place_has_one_name(tmp_path: Path) -> None:
    real = tmp_path / "real" / "deep"
    real.mkdir(parents=True)
    (tmp_path / "absolute").symlink_to(real)
    (tmp_path / "relative").symlink_to("real/../absolute")
    for name in (real, tmp_path / "absolute", tmp_path / "relative", tmp_path / "relative" / "." / ".." / "deep"):
        assert canonical(name) == real
    assert canonical(tmp_path / "relative" / "new" / "er") == real / "new" / "er"
    assert canonical(tmp_path / "relative" / ".." / "x") == tmp_path / "real" / "x"


def test_links_in_a_circle_and_links_of_others_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ValueError, match="circle"):
        canonical(tmp_path / "a")
    (tmp_path / "theirs").symlink_to(tmp_path)
    give_away(tmp_path / "theirs", monkeypatch)
    with pytest.raises(ValueError, match="link that belongs to user"):
        canonical(tmp_path / "theirs" / "home")


@pytest.mark.parametrize(("mode", "safe"), [(0o700, True), (0o755, True), (0o775, True), (0o777, False), (0o702, False), (0o1777, False)])
def test_who_may_write(tmp_path: Path, mode: int, safe: bool) -> None:
    """The group of a new folder is this user's private group, as with umask 002."""
    folder = tmp_path / "folder"
    folder.mkdir()
    os.chown(folder, -1, os.getgid())
    folder.chmod(mode)
    assert (path_fault(folder, owner_or_root()) is None) == safe


def test_a_foreign_group_may_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o775)
    if os.geteuid() == 0:
        os.chown(folder, -1, NOBODY)
    else:  # this process leaves the group
        monkeypatch.setattr(os, "getgid", lambda: -1)
        monkeypatch.setattr(os, "getgroups", list)
    assert f"may be changed by group {folder.stat().st_gid}" in str(path_fault(folder, owner_or_root()))
    folder.chmod(0o755)
    assert path_fault(folder, owner_or_root()) is None


@pytest.mark.parametrize(("mode", "safe"), [(0o777, False), (0o1777, True), (0o755, True)])
def test_whoever_writes_above_could_exchange_what_lies_below(tmp_path: Path, mode: int, safe: bool) -> None:
    (tmp_path / "shared" / "mine").mkdir(parents=True)
    (tmp_path / "shared").chmod(mode)
    fault = parents_fault(tmp_path / "shared" / "mine" / "home")
    assert fault is None if safe else fault is not None and fault.path == tmp_path / "shared"


def test_a_folder_below_another_users_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs").chmod(0o1777)
    give_away(tmp_path / "theirs", monkeypatch)
    assert "belongs to user" in str(parents_fault(tmp_path / "theirs" / "home"))


def test_a_tree_is_looked_at_through_links(tmp_path: Path) -> None:
    top, disk = tmp_path / "home" / "minio", tmp_path / "disk"
    (top / "a" / "b").mkdir(parents=True)
    (disk / "c").mkdir(parents=True)
    (top / "inner").symlink_to("a")
    assert tree_fault(top, owner_or_root(), 3, may_leave=False) is None
    (top / "outer").symlink_to(disk)
    assert str(disk) in str(tree_fault(top, owner_or_root(), 3, may_leave=False))
    assert tree_fault(top, owner_or_root(), 3, may_leave=True) is None
    (disk / "c").chmod(0o777)
    fault = tree_fault(top, owner_or_root(), 3, may_leave=True)
    assert fault is not None
    assert fault.path == disk / "c"


def test_folders_are_private_whatever_the_umask(tmp_path: Path, no_umask: None) -> None:
    make_private(tmp_path / "a" / "b")
    make_private(tmp_path / "a" / "b")
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "a", tmp_path / "a" / "b")] == [0o700, 0o700]


def test_setup_runs_no_uv_that_another_user_could_have_put_into_the_cache(tmp_path: Path) -> None:
    """Run the script's real functions, without packages."""
    script = (ROOT / "scripts" / "setup").read_text()
    functions = script[script.index("say()") : script.index("has_java_17()")]
    uv = tmp_path / "cache" / "uv-1" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.write_text("#!/bin/sh\necho ran\n")
    uv.chmod(0o755)
    find = f"set -euo pipefail\ncache={tmp_path}/cache uv_version=1\n{functions}\nhave() {{ false; }}\nfind_uv {sys.executable}"

    def found() -> tuple[int, str]:
        done = subprocess.run(["bash", "-c", find], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.strip() or done.stderr

    assert found() == (0, str(uv))
    for path in (uv, uv.parent, tmp_path / "cache"):
        mode = path.stat().st_mode & 0o777
        path.chmod(0o777)
        code, said = found()
        assert code == 1
        assert f"{path} may be changed by every user" in said
        path.chmod(mode)
