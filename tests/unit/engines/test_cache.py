"""Nothing is run or loaded from a cache that another user could have written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyspark
import pytest

from cryptoviz.engines.build import build_engine
from cryptoviz.engines.cache import cache_fault
from cryptoviz.engines.fetch import ensure_all, ensure_jars, is_complete
from cryptoviz.engines.jars import JarSet, jar_dir, kafka_classpath, spark_classpath
from cryptoviz.engines.minio_build import build_minio, minio_program
from cryptoviz.errors import SettingsError
from cryptoviz.settings import Settings, claim_home, load_settings
from tests.support.intruder import give_away
from tests.support.ports import free_port
from tests.support.silent_progress import SilentProgress
from tests.unit.engines.maven import Repository, jar_of, serving

FILES = {f"org/x/x{n}/1/x{n}-1.jar": bytes([n]) * 2000 for n in range(3)}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    jars = tuple(jar_of(path, content) for path, content in FILES.items())
    for module in ("cryptoviz.engines.fetch", "cryptoviz.engines.jars"):
        monkeypatch.setattr(f"{module}.locked_jars", lambda which: jars)
    ports = {"port": free_port(), "console_port": free_port()}
    return claim_home(load_settings(home=tmp_path / "home", cache=tmp_path / "caches" / "cache", s3=ports))


@pytest.fixture
def filled(settings: Settings) -> Settings:
    """A cache with jars and a program that leaves a trace when it runs."""
    for which in ("kafka", "spark"):
        jar_dir(settings, which).mkdir(parents=True)
        for path, content in FILES.items():
            (jar_dir(settings, which) / Path(path).name).write_bytes(content)
    program = minio_program(settings)
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\ntouch {settings.home}/ran\n")
    program.chmod(0o755)
    assert is_complete(settings)
    return settings


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


USES: dict[str, Callable[[Settings], Any]] = {
    "complete": is_complete,
    "fetch": lambda settings: ensure_all(settings, SilentProgress()),
    "build": lambda settings: build_minio(settings, SilentProgress()),
    "kafka": kafka_classpath,
    "spark": spark_classpath,
    "minio": lambda settings: build_engine("object-store", settings).start(),
}


def program(settings: Settings) -> Path:
    return minio_program(settings)


PLACES: dict[str, Callable[[Settings], Path]] = {
    "cache": lambda settings: settings.cache,
    "folder of a version": lambda settings: program(settings).parent,
    "program": program,
    "jar": lambda settings: jar_dir(settings, "kafka") / "x1-1.jar",
    "folder above": lambda settings: settings.cache.parent,
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("place", PLACES)
def test_what_another_user_made_or_may_change_is_not_used(filled: Settings, use: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = PLACES[place](filled)
    mode = path.stat().st_mode & 0o777
    path.chmod(0o777)
    with pytest.raises(SettingsError, match="CRYPTOVIZ_CACHE") as refused:
        USES[use](filled)
    assert str(path) in str(refused.value)
    path.chmod(mode)
    assert cache_fault(filled) is None
    give_away(path, monkeypatch)
    with pytest.raises(SettingsError, match="belongs to user"):
        USES[use](filled)
    assert not (filled.home / "ran").exists()


def test_a_foreign_jar_beside_the_locked_ones_is_in_no_class_path(filled: Settings) -> None:
    both: tuple[tuple[JarSet, Callable[[Settings], str]], ...] = (("kafka", kafka_classpath), ("spark", spark_classpath))
    for which, classpath in both:
        folder = jar_dir(filled, which)
        (folder / "a-1.jar").write_bytes(b"loaded first")
        locked = [str(folder / Path(path).name) for path in FILES]
        found = classpath(filled).split(":")
        assert found[: len(locked)] == locked
        assert not [entry for entry in found[len(locked) :] if Path(entry).is_relative_to(filled.cache)]


def test_driver_and_executor_get_each_package_once(filled: Settings) -> None:
    """Their class path after the locked jars: RayDP with its agent, PySpark's jars, Ray."""
    entries = spark_classpath(filled).split(":")
    assert len(set(entries)) == len(entries)
    assert [entry for entry in entries if entry.endswith("*")] == [str(Path(pyspark.__file__ or "").parent / "jars" / "*")]
    assert sum("raydp-agent" in entry for entry in entries) == 1
    assert sum(entry.endswith("ray_dist.jar") for entry in entries) == 1


def test_a_cache_that_its_owner_shares_read_only_is_used(filled: Settings) -> None:
    """A cache like root's: 0755 folders, 0644 files."""
    for path in (filled.cache, *filled.cache.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path == minio_program(filled) else 0o644)
    assert is_complete(filled)
    assert not (filled.cache / "fetch.lock").exists()


def test_what_is_fetched_is_this_users_alone_whatever_the_umask(settings: Settings, no_umask: None) -> None:
    with serving(Repository(FILES)) as repository:
        mirror = settings.model_copy(update={"downloads": settings.downloads.model_copy(update={"maven_url": repository.url})})
        ensure_jars(mirror, "kafka", SilentProgress())
    made = [settings.cache.parent, settings.cache, *settings.cache.rglob("*")]
    assert len(made) == 7  # two above, jars, the set's folder, three jars
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in made if path.stat().st_mode & 0o077} == {}
