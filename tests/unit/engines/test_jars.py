"""The lock file, and the check of the cache."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from cryptoviz.engines import fetch
from cryptoviz.engines.jars import JarSet, damaged_jars, jar_dir, kafka_classpath, locked_jars, missing_jars, spark_jars_dir
from cryptoviz.errors import PreflightError
from cryptoviz.settings import Settings, load_settings
from tests.support.silent_progress import SilentProgress
from tests.unit.engines.maven import Repository, jar_of, serving

ROOT = Path(__file__).resolve().parents[3]
MAVEN = {"m": "http://maven.apache.org/POM/4.0.0"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(cache=tmp_path / "cache", home=tmp_path / "home")


@pytest.mark.parametrize("which", ["kafka", "spark"])
def test_the_lock_is_complete(which: JarSet) -> None:
    jars = locked_jars(which)
    assert len({jar.name for jar in jars}) == len(jars)
    for jar in jars:
        assert re.fullmatch(r"[0-9a-f]{64}", jar.sha256)
        assert jar.size > 1000
        folders, name = jar.path.split("/")[:-1], jar.name
        assert name == f"{folders[-2]}-{folders[-1]}.jar"


@pytest.mark.parametrize("which", ["kafka", "spark"])
def test_the_lock_holds_what_the_pom_asks_for(which: JarSet) -> None:
    pom = ET.parse(ROOT / f"scripts/jars/{which}.pom.xml").getroot()
    spark = pom.findtext("m:properties/m:spark", "", MAVEN)
    asked = set()
    for dependency in pom.iterfind("m:dependencies/m:dependency", MAVEN):
        artifact, version = dependency.findtext("m:artifactId", "", MAVEN), dependency.findtext("m:version", "", MAVEN).replace("${spark}", spark)
        asked.add(f"{artifact}-{version}.jar")
    locked = {jar.name for jar in locked_jars(which)}
    assert asked <= locked
    if which == "spark":
        assert locked == asked


def test_spark_gets_nothing_that_pyspark_ships() -> None:
    import pyspark

    shipped = {re.sub(r"-\d.*", "", path.name) for path in (Path(pyspark.__file__).parent / "jars").glob("*.jar")}
    assert not shipped & {re.sub(r"-\d.*", "", jar.name) for jar in locked_jars("spark")}


def test_missing_jars_are_reported_with_the_remedy(settings: Settings) -> None:
    assert missing_jars(settings, "kafka") == locked_jars("kafka")
    with pytest.raises(PreflightError, match=r"46 of 46 jars are missing.*make setup"):
        kafka_classpath(settings)
    with pytest.raises(PreflightError, match="4 of 4 jars are missing"):
        spark_jars_dir(settings)


def test_a_set_is_fetched_mended_and_cleared_of_others(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"org/x/x{n}/1/x{n}-1.jar": bytes([n]) * 2000 for n in range(4)}
    jars = tuple(jar_of(path, content) for path, content in files.items())
    for module in ("cryptoviz.engines.fetch", "cryptoviz.engines.jars"):
        monkeypatch.setattr(f"{module}.locked_jars", lambda which: jars)
    folder = jar_dir(settings, "spark")
    folder.mkdir(parents=True)
    (folder / "slf4j-api-1.7.36.jar").write_bytes(b"of an older lock")
    with serving(Repository(files)) as repository:
        mirror = settings.model_copy(update={"downloads": settings.downloads.model_copy(update={"maven_url": repository.url})})
        fetch.ensure_jars(mirror, "spark", SilentProgress())
        assert {path.name for path in folder.iterdir()} == {jar.name for jar in jars}
        assert spark_jars_dir(settings) == folder

        asked = len(repository.asked)
        fetch.ensure_jars(mirror, "spark", SilentProgress(), check_contents=True)
        assert len(repository.asked) == asked

        (folder / "x2-1.jar").write_bytes(b"?" * 2000)
        assert missing_jars(settings, "spark") == ()
        assert damaged_jars(settings, "spark") == (jars[2],)
        fetch.ensure_jars(mirror, "spark", SilentProgress(), check_contents=True)
        assert repository.asked[asked:] == [(jars[2].path, None)]
        assert (folder / "x2-1.jar").read_bytes() == files[jars[2].path]
