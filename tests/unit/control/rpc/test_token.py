"""The owner's bearer token."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cryptoviz.errors import SettingsError
from cryptoviz.local.private import ensure_token
from tests.support.intruder import give_away


def test_it_is_made_once_and_read_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "home" / "control.token"
    token = ensure_token(path, "CRYPTOVIZ_HOME")
    assert ensure_token(path, "CRYPTOVIZ_HOME") == token
    assert path.read_text() == f"{token}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(token)) == 32  # 256 bits
    assert [entry.name for entry in path.parent.iterdir()] == ["control.token"]


def test_two_homes_have_two(tmp_path: Path) -> None:
    assert ensure_token(tmp_path / "a", "CRYPTOVIZ_HOME") != ensure_token(tmp_path / "b", "CRYPTOVIZ_HOME")


def test_of_several_that_start_at_once_one_wins(tmp_path: Path) -> None:
    # The scratch name is unique per process, so threads would share it: each uses a folder that links to the same file.
    path = tmp_path / "control.token"
    first = ensure_token(path, "CRYPTOVIZ_HOME")
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: path.read_text().strip(), range(16))) == {first}


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        ("ab" * 32 + "\n", 0o644, "others may read"),
        ("\n", 0o600, "is empty"),
        ("x", 0o600, "does not contain a token of 64 hex digits"),
        ("known-to-nobody\n", 0o600, "does not contain a token"),
        ("AB" * 32, 0o600, "does not contain a token"),
        ("ab" * 32 + " ab", 0o600, "does not contain a token"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, content: str, mode: int, message: str) -> None:
    path = tmp_path / "control.token"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(SettingsError, match=message):
        ensure_token(path, "CRYPTOVIZ_HOME")


def test_one_that_leads_elsewhere_or_is_another_users_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, elsewhere = tmp_path / "control.token", tmp_path / "elsewhere"
    ensure_token(elsewhere, "CRYPTOVIZ_HOME")
    path.symlink_to(elsewhere)
    with pytest.raises(SettingsError, match="not a regular file"):
        ensure_token(path, "CRYPTOVIZ_HOME")
    give_away(elsewhere, monkeypatch)
    with pytest.raises(SettingsError, match="belongs to user"):
        ensure_token(elsewhere, "CRYPTOVIZ_HOME")


def test_a_token_of_an_earlier_version_stays_valid(tmp_path: Path) -> None:
    path = tmp_path / "control.token"
    earlier = "Zm9yIGEgdGVzdCB0aGF0IGlzIDMyIGJ5dGVzIGxvbmc"
    path.write_text(f"{earlier}\n")
    path.chmod(0o600)
    assert ensure_token(path, "CRYPTOVIZ_HOME") == earlier
