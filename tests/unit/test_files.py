"""Reading a folder in use, as the tests of a running pipeline do."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.files import contents, files_in


def folder_of(tmp_path: Path) -> Path:
    for name in ("a", "below/b", "below/deep/c"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    return tmp_path


def test_all_regular_files_are_found(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    assert dict(contents(folder)) == {folder / name: name.encode() for name in ("a", "below/b", "below/deep/c")}
    assert dict(contents(folder, lambda path: path.name == "b")) == {folder / "below/b": b"below/b"}


def test_a_folder_and_a_file_that_are_removed_meanwhile_are_left_out(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    found = files_in(folder)
    assert next(found) == folder / "a"
    shutil.rmtree(folder / "below")
    assert list(found) == []

    def removed(path: Path) -> bool:
        path.unlink()
        return True

    assert list(contents(folder, removed)) == []
