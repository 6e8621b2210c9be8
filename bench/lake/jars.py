"""Jars for the contenders only: Delta's Spark sink and S3A. 289 MB, downloaded at the first run, checked by SHA-256."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from cryptoviz.engines.cache import require_own_cache
from cryptoviz.engines.download import download_jars
from cryptoviz.engines.download_progress import LineProgress
from cryptoviz.engines.jars import Jar, sha256_of
from cryptoviz.settings import Settings

__all__ = ["contender_jars"]

_LOCK = Path(__file__).with_name("jars.lock.json")


def contender_jars(settings: Settings) -> Path:
    """Folder with all jars of the lock file.

    Raises:
        DownloadError: a file does not match the lock file.
        SettingsError: another user could have put something into the cache.
        EngineUnavailable: Maven's repository cannot be reached.
    """
    require_own_cache(settings)
    folder = settings.cache / "jars" / "bench-spark"
    wanted = [Jar(**entry) for entry in json.loads(_LOCK.read_text(encoding="utf-8"))]
    missing = [jar for jar in wanted if not (folder / jar.name).is_file() or sha256_of(folder / jar.name) != jar.sha256]
    if missing:
        download_jars(missing, folder, settings.downloads, LineProgress(Console(stderr=True)), "contenders' jars")
    return folder
