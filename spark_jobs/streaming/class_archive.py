"""Class-data sharing: an archive of Spark's loaded classes, which halves the processor time of a start.

`spark_jobs.streaming.record_classes` writes it. Driver and executor use it, since their class path is the same. A
JVM checks it against its own version and its jars, and ignores one that does not fit. Without an archive everything works, only later.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from cryptoviz.settings import Settings

__all__ = ["QUIET", "archive_file", "archive_options"]

_FOLDER = "class-archives"
QUIET = ("-Xlog:cds=off", "-Xlog:cds+dynamic=off")
"""An archive that does not fit is ignored without a line on standard output."""


def archive_file(settings: Settings, java: Path, jars: str) -> Path:
    """Place of the archive for this Java and class path, whether it exists or not. A changed jar has another place."""
    known = hashlib.sha256(f"{java.resolve()}\0{jars}".encode())
    for entry in jars.split(os.pathsep):
        for jar in sorted(Path(entry).parent.glob("*.jar")) if entry.endswith("*") else [Path(entry)]:
            state = jar.stat()
            known.update(f"\0{jar}\0{state.st_size}\0{state.st_mtime_ns}".encode())
    return settings.cache / _FOLDER / f"spark-{known.hexdigest()[:32]}.jsa"


def archive_options(settings: Settings, java: Path, jars: str) -> list[str]:
    """Options of a JVM that uses the archive; none if it does not exist."""
    archive = archive_file(settings, java, jars)
    if not archive.is_file():
        return []
    with contextlib.suppress(OSError):  # a cache that root shares is read-only
        os.utime(archive)
    return [f"-XX:SharedArchiveFile={archive}", *QUIET]
