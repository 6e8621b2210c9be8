"""Download and build of the embedded engines into the cache. A no-op for files already present."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from cryptoviz.engines.cache import FETCH_LOCK, make_cache, require_own_cache
from cryptoviz.engines.download import download_jars
from cryptoviz.engines.download_progress import ProgressReporter
from cryptoviz.engines.jars import JarSet, damaged_jars, jar_dir, locked_jars, missing_jars
from cryptoviz.engines.minio_build import build_minio, minio_program
from cryptoviz.settings import Settings

__all__ = ["ensure_all", "ensure_jars", "ensure_minio", "is_complete"]

_NAMES: dict[JarSet, str] = {"kafka": "Kafka 4.3.1", "spark": "Spark's Kafka source"}


def ensure_all(settings: Settings, progress: ProgressReporter, *, check_contents: bool = False) -> None:
    """Download and build everything that the configured embedded engines need. Safe across processes: one works, the others wait.

    Args:
        settings: `cache` is the destination, `downloads` the source.
        progress: receives the progress.
        check_contents: also replace files with the right size but a wrong SHA-256.

    Raises:
        DownloadError: a file does not match the lock file.
        EngineUnavailable: a registry is not reachable; another run resumes.
        PreflightError: Go, needed to build MinIO, is missing.
        SettingsError: another user could have written programs or libraries into the cache.
    """
    if is_complete(settings) and not check_contents:
        return
    with _only_one(settings, progress):
        ensure_jars(settings, "spark", progress, check_contents=check_contents)
        if settings.kafka.embedded:
            ensure_jars(settings, "kafka", progress, check_contents=check_contents)
        if settings.s3.embedded:
            ensure_minio(settings, progress)


def is_complete(settings: Settings) -> bool:
    """Whether `ensure_all` has nothing to do, judged by names, sizes, owners and modes (a few ms). Raises SettingsError as `ensure_all` does."""
    require_own_cache(settings)
    kafka = not settings.kafka.embedded or not missing_jars(settings, "kafka")
    minio = not settings.s3.embedded or minio_program(settings).is_file()
    return kafka and minio and not missing_jars(settings, "spark")


def ensure_jars(settings: Settings, which: JarSet, progress: ProgressReporter, *, check_contents: bool = False) -> None:
    """Download a set of jars and remove any other file in its folder, because class paths include the whole folder. Raises as `ensure_all`."""
    folder = jar_dir(settings, which)
    if check_contents:
        for jar in damaged_jars(settings, which):
            progress.say(f"{folder / jar.name} is damaged; downloading it again")
            (folder / jar.name).unlink()
    missing = missing_jars(settings, which)
    if missing:
        download_jars(missing, folder, settings.downloads, progress, f"{_NAMES[which]} ({len(missing)} jars)", network=settings.network)
    known = {jar.name for jar in locked_jars(which)}
    for path in folder.glob("*.jar"):
        if path.name not in known:
            path.unlink()


def ensure_minio(settings: Settings, progress: ProgressReporter) -> None:
    """Build the MinIO program if it is missing. Raises as `ensure_all`."""
    if not minio_program(settings).is_file():
        build_minio(settings, progress)


@contextmanager
def _only_one(settings: Settings, progress: ProgressReporter) -> Iterator[None]:
    make_cache(settings)
    with os.fdopen(os.open(settings.cache / FETCH_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say("waiting for another process that is downloading")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
