"""The place of the class archive follows Java and the jars; options only for an archive that exists."""

from __future__ import annotations

import os
from pathlib import Path

import pyspark
import pytest

from cryptoviz.settings import Settings, load_settings
from spark_jobs.streaming.class_archive import archive_file, archive_options
from spark_jobs.streaming.driver_jvm import class_path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home", cache=tmp_path / "cache")


@pytest.fixture
def jars(tmp_path: Path) -> str:
    """A class path of one jar and a folder with one jar."""
    (tmp_path / "jars").mkdir()
    for path in ("a.jar", "jars/b.jar", "java"):
        (tmp_path / path).write_bytes(b"PK")
    return os.pathsep.join((str(tmp_path / "a.jar"), str(tmp_path / "jars" / "*")))


def test_the_same_jars_have_the_same_archive(settings: Settings, jars: str, tmp_path: Path) -> None:
    first = archive_file(settings, tmp_path / "java", jars)
    assert first.parent == settings.cache / "class-archives"
    assert archive_file(settings, tmp_path / "java", jars) == first


@pytest.mark.parametrize("changed", ["a.jar", "jars/b.jar"])
@pytest.mark.parametrize("how", ["content", "time"])
def test_a_changed_jar_has_another_archive(settings: Settings, jars: str, tmp_path: Path, changed: str, how: str) -> None:
    before = archive_file(settings, tmp_path / "java", jars)
    path = tmp_path / changed
    time_ns = path.stat().st_mtime_ns
    if how == "content":
        path.write_bytes(b"PK longer")
    os.utime(path, ns=(time_ns, time_ns if how == "content" else time_ns + 1_000_000_000))
    assert archive_file(settings, tmp_path / "java", jars) != before


def test_a_new_jar_in_a_folder_has_another_archive(settings: Settings, jars: str, tmp_path: Path) -> None:
    before = archive_file(settings, tmp_path / "java", jars)
    (tmp_path / "jars" / "c.jar").write_bytes(b"PK")
    assert archive_file(settings, tmp_path / "java", jars) != before


def test_another_java_has_another_archive(settings: Settings, jars: str, tmp_path: Path) -> None:
    assert archive_file(settings, tmp_path / "java", jars) != archive_file(settings, tmp_path / "java2", jars)


def test_no_archive_gives_no_option(settings: Settings, jars: str, tmp_path: Path) -> None:
    assert archive_options(settings, tmp_path / "java", jars) == []


def test_an_archive_is_named_to_the_jvm(settings: Settings, jars: str, tmp_path: Path) -> None:
    archive = archive_file(settings, tmp_path / "java", jars)
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"")
    assert archive_options(settings, tmp_path / "java", jars) == [f"-XX:SharedArchiveFile={archive}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]


def test_the_class_path_begins_with_the_given_jars_and_has_each_package_once() -> None:
    parts = class_path("/first.jar").split(os.pathsep)
    assert parts[0] == "/first.jar"
    assert [part for part in parts if part.endswith("*")] == [str(Path(pyspark.__file__ or "").parent / "jars" / "*")]
    assert len(set(parts)) == len(parts)
    assert sum("raydp-agent" in part for part in parts) == 1
    assert sum(part.endswith("ray_dist.jar") for part in parts) == 1
