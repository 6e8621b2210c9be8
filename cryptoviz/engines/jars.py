"""The locked jars: their place in the cache, and which are missing or damaged."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from cryptoviz.engines.cache import require_own_cache
from cryptoviz.errors import PreflightError
from cryptoviz.settings import Settings

__all__ = [
    "Jar",
    "JarSet",
    "damaged_jars",
    "jar_dir",
    "kafka_classpath",
    "locked_jars",
    "missing_jars",
    "sha256_of",
    "spark_classpath",
    "spark_jars_dir",
]

JarSet = Literal["kafka", "spark"]
# A folder per version of the set, so that an upgrade never mixes two versions.
_FOLDERS: dict[JarSet, str] = {"kafka": "kafka-4.3.1", "spark": "spark-kafka-3.5.7"}
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Jar:
    """A locked file: path below the root of a Maven repository, SHA-256 in hex, size in bytes."""

    path: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@cache
def locked_jars(which: JarSet) -> tuple[Jar, ...]:
    """The jars of a set, from `jars.lock.json` (written by scripts/lock_jars)."""
    lock = json.loads(files("cryptoviz.engines").joinpath("jars.lock.json").read_text(encoding="utf-8"))
    return tuple(Jar(**entry) for entry in lock[which])


def jar_dir(settings: Settings, which: JarSet) -> Path:
    """Folder of the set's jars; contains nothing else after the download."""
    return settings.cache / "jars" / _FOLDERS[which]


def missing_jars(settings: Settings, which: JarSet) -> tuple[Jar, ...]:
    """Jars that are missing or have the wrong size. Contents are verified at the download and by `damaged_jars`."""
    folder = jar_dir(settings, which)
    return tuple(jar for jar in locked_jars(which) if not _has_size(folder / jar.name, jar.size))


def damaged_jars(settings: Settings, which: JarSet) -> tuple[Jar, ...]:
    """Jars whose content does not match the lock file. Reads all files (0.2 s)."""
    folder = jar_dir(settings, which)
    return tuple(jar for jar in locked_jars(which) if (folder / jar.name).is_file() and sha256_of(folder / jar.name) != jar.sha256)


def kafka_classpath(settings: Settings) -> str:
    """Class path of the embedded broker: only the locked jars, no other file of their folder. Raises as `spark_jars_dir` does."""
    return _classpath(_complete(settings, "kafka", "Kafka"), "kafka")


def spark_classpath(settings: Settings) -> str:
    """Class path of Spark's driver and executors: the locked jars of its Kafka source, RayDP, Spark, Ray. Raises as `spark_jars_dir` does.

    The same for both, so that one class archive serves both. The packages are not imported.
    """
    of_raydp, of_ray = (sorted(map(str, _jars_of(package).glob("*.jar"))) for package in ("raydp", "ray"))
    return os.pathsep.join([_classpath(spark_jars_dir(settings), "spark"), *of_raydp, str(_jars_of("pyspark") / "*"), *of_ray])


def spark_jars_dir(settings: Settings) -> Path:
    """Folder with the jars of Spark's Kafka source.

    Raises:
        SettingsError: another user could have put them there.
        PreflightError: jars are missing.
    """
    return _complete(settings, "spark", "Spark's Kafka source")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _classpath(folder: Path, which: JarSet) -> str:
    return os.pathsep.join(str(folder / jar.name) for jar in locked_jars(which))


def _jars_of(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise PreflightError(f"the Python package {package} is not installed; run `make setup`", problems=[package])
    return Path(spec.origin).parent / "jars"


def _complete(settings: Settings, which: JarSet, what: str) -> Path:
    require_own_cache(settings)
    missing = missing_jars(settings, which)
    folder = jar_dir(settings, which)
    if missing:
        message = f"{what}: {len(missing)} of {len(locked_jars(which))} jars are missing in {folder}; run `make setup` or `cryptoviz doctor --fix`"
        raise PreflightError(message, problems=[message])
    return folder


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
