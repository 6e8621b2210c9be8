"""The place of the class archive follows Java and the jars; options only for an archive that exists."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from cryptoviz.engines.class_archive import archive_file, archive_options, record_classes
from cryptoviz.engines.java import java_executable
from cryptoviz.errors import EngineUnavailable
from cryptoviz.settings import Settings, load_settings
from tests.support.intruder import as_another_user


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home", cache=tmp_path / "cache")


@pytest.fixture
def jars(tmp_path: Path) -> str:
    """A class path of one jar and a folder with one jar."""
    (tmp_path / "jars").mkdir()
    for path in ("a.jar", "jars/b.jar", "java", "java2"):
        (tmp_path / path).write_bytes(b"PK")
    return os.pathsep.join((str(tmp_path / "a.jar"), str(tmp_path / "jars" / "*")))


def test_the_same_jars_have_the_same_archive(settings: Settings, jars: str, tmp_path: Path) -> None:
    first = archive_file(settings, "spark", tmp_path / "java", jars)
    assert first.parent == settings.cache / "class-archives"
    assert archive_file(settings, "spark", tmp_path / "java", jars) == first


@pytest.mark.parametrize("changed", ["a.jar", "jars/b.jar", "java"])
@pytest.mark.parametrize("how", ["content", "time"])
def test_a_changed_jar_or_java_has_another_archive(settings: Settings, jars: str, tmp_path: Path, changed: str, how: str) -> None:
    before = archive_file(settings, "spark", tmp_path / "java", jars)
    path = tmp_path / changed
    time_ns = path.stat().st_mtime_ns
    if how == "content":
        path.write_bytes(b"PK longer")
    os.utime(path, ns=(time_ns, time_ns if how == "content" else time_ns + 1_000_000_000))
    assert archive_file(settings, "spark", tmp_path / "java", jars) != before


def test_a_new_jar_in_a_folder_has_another_archive(settings: Settings, jars: str, tmp_path: Path) -> None:
    before = archive_file(settings, "spark", tmp_path / "java", jars)
    (tmp_path / "jars" / "c.jar").write_bytes(b"PK")
    assert archive_file(settings, "spark", tmp_path / "java", jars) != before


def test_another_java_has_another_archive(settings: Settings, jars: str, tmp_path: Path) -> None:
    assert archive_file(settings, "spark", tmp_path / "java", jars) != archive_file(settings, "spark", tmp_path / "java2", jars)


def test_no_archive_gives_no_option(settings: Settings, jars: str, tmp_path: Path) -> None:
    assert archive_options(settings, "spark", tmp_path / "java", jars) == []


def test_an_archive_is_named_to_the_jvm(settings: Settings, jars: str, tmp_path: Path) -> None:
    archive = archive_file(settings, "spark", tmp_path / "java", jars)
    assert record_classes(settings, "spark", tmp_path / "java", jars, write)
    assert archive_options(settings, "spark", tmp_path / "java", jars) == [
        f"-XX:SharedArchiveFile={archive}",
        "-XX:+UnlockDiagnosticVMOptions",
        "-XX:ArchiveRelocationMode=0",
        "-Xlog:cds=off",
        "-Xlog:cds+dynamic=off",
    ]


def test_archives_unused_for_a_month_are_removed(settings: Settings, jars: str, tmp_path: Path) -> None:
    """Two old ones: one was used within the last 30 days (29), the other not (31). And the folder of a set-up that was killed."""
    archive = archive_file(settings, "spark", tmp_path / "java", jars)
    archive.parent.mkdir(parents=True, mode=0o700)
    settings.cache.chmod(0o700)
    for name, days in (("spark-used.jsa", 29), ("kafka-old.jsa", 31)):
        (archive.parent / name).write_bytes(b"")
        at = time.time() - days * 86_400
        os.utime(archive.parent / name, (at, at))
    left = archive.parent / "tmp1"
    left.mkdir()
    (left / "spark-x.jsa").write_bytes(b"cla")
    os.utime(left, (at, at))
    assert record_classes(settings, "spark", tmp_path / "java", jars, write)
    assert sorted(path.name for path in archive.parent.iterdir()) == sorted([archive.name, "spark-used.jsa"])
    # 7 bytes of classes, 8 of the seal, 8 of the length.
    assert archive.read_bytes() == b"classescv-size \0\0\0\0\0\0\0\x17"


def test_an_archive_that_exists_is_kept(settings: Settings, jars: str, tmp_path: Path) -> None:
    assert record_classes(settings, "spark", tmp_path / "java", jars, write)
    assert not record_classes(settings, "spark", tmp_path / "java", jars, lambda options: pytest.fail(f"started with {options}"))


@pytest.mark.parametrize("length", [0, 7, 22])
def test_an_archive_that_is_cut_off_is_not_used_and_recorded_again(settings: Settings, jars: str, tmp_path: Path, length: int) -> None:
    """The JVM would crash at its start. Whole, it has 23 bytes."""
    assert record_classes(settings, "spark", tmp_path / "java", jars, write)
    os.truncate(archive_file(settings, "spark", tmp_path / "java", jars), length)
    assert archive_options(settings, "spark", tmp_path / "java", jars) == []
    assert record_classes(settings, "spark", tmp_path / "java", jars, write)
    assert archive_options(settings, "spark", tmp_path / "java", jars) != []


def test_an_archive_that_this_user_may_not_read_is_not_used() -> None:
    """As in a cache that root shares: the folder of the archives is root's alone."""
    with tempfile.TemporaryDirectory() as shared:
        java = Path(shared, "java")
        java.write_bytes(b"")
        settings = load_settings(home=Path(shared, "home"), cache=Path(shared, "cache"))
        assert record_classes(settings, "spark", java, str(java), write)
        for folder, mode in ((Path(shared), 0o755), (settings.cache, 0o755), (archive_file(settings, "spark", java, str(java)).parent, 0)):
            folder.chmod(mode)
        assert as_another_user(lambda: archive_options(settings, "spark", java, str(java))) == []
        archive_file(settings, "spark", java, str(java)).parent.chmod(0o700)


def test_the_jvm_uses_what_it_has_recorded(tmp_path: Path) -> None:
    """With `-Xshare:on` it ends with an error if it cannot."""
    settings = load_settings(home=tmp_path / "home", cache=tmp_path / "cache")
    java, jar = java_executable(), tmp_path / "a.jar"
    with zipfile.ZipFile(jar, "w") as file:
        file.writestr("empty", "")

    def run(options: Sequence[str]) -> None:
        subprocess.run([java, *options, "-cp", str(jar), "-version"], check=True, capture_output=True)

    assert record_classes(settings, "test", java, str(jar), run)
    run(["-Xshare:on", *archive_options(settings, "test", java, str(jar))])
    log = tmp_path / "cds.log"
    run([*archive_options(settings, "test", java, str(jar)), f"-Xlog:cds,cds+dynamic:file={log}"])
    # Elsewhere every pointer in it would be changed, and no page shared.
    assert "Mapped dynamic region" in log.read_text()
    assert "at an alternative address" not in log.read_text()
    archive_file(settings, "test", java, str(jar)).unlink()
    assert archive_options(settings, "test", java, str(jar)) == []


def test_no_archive_of_the_jvm_is_an_error_and_leaves_nothing(settings: Settings, jars: str, tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="the JVM of spark wrote no class archive"):
        record_classes(settings, "spark", tmp_path / "java", jars, lambda options: None)
    assert list(archive_file(settings, "spark", tmp_path / "java", jars).parent.iterdir()) == []


def write(options: Sequence[str]) -> None:
    """As a JVM at its end."""
    Path(options[0].removeprefix("-XX:ArchiveClassesAtExit=")).write_bytes(b"classes")
